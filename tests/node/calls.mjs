// Runs one official Node SDK call after another and prints what each returned, as one JSON document.
//
//   node calls.mjs OPENAI_BASE BASE KEY LABEL_PREFIX [HEADERS_JSON]
//
// Each call is labelled LABEL_PREFIX-NAME, which fixes the ids in the simulated provider's replies and is the
// conversation in the gateway's rows. Output: {NAME: {result} or {error}, with the number of requests sent}.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [openaiBase, base, apiKey, prefix] = process.argv.slice(2);
const messages = [{ role: "user", content: "Say something nice." }];
const parameters = {
  type: "object",
  properties: { city: { type: "string" }, unit: { type: "string", enum: ["c", "f"] } },
  required: ["city", "unit"],
  additionalProperties: false,
};
const chat = { model: "gpt-4o-mini", messages };
const message = { model: "claude-sonnet-5-5", max_tokens: 100, messages };
const tool = { type: "function", function: { name: "get_weather", parameters } };
const schema = { type: "json_schema", json_schema: { name: "place", strict: true, schema: parameters } };

const collected = async (stream) => {
  const events = [];
  for await (const event of await stream) events.push(event);
  return events;
};

const calls = {
  "chat": ({ openai }) => openai.chat.completions.create(chat),
  "chat-stream": ({ openai }) => collected(openai.chat.completions.create({ ...chat, stream: true })),
  "chat-stream-with-usage": ({ openai }) =>
    collected(openai.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } })),
  "chat-tool": ({ openai }) => openai.chat.completions.create({ ...chat, tools: [tool] }),
  "chat-structured": ({ openai }) => openai.chat.completions.parse({ ...chat, response_format: schema }),
  "respond": ({ openai }) => openai.responses.create({ model: "gpt-4o-mini", input: "Hello" }),
  "respond-stream": ({ openai }) =>
    collected(openai.responses.create({ model: "gpt-4o-mini", input: "Hello", stream: true })),
  "embed": ({ openai }) =>
    openai.embeddings.create({ model: "text-embedding-3-small", input: ["one text", "another"], dimensions: 64 }),
  "image": ({ openai }) =>
    openai.images.generate({ model: "gpt-image-1", prompt: "a house", quality: "low", size: "1024x1024" }),
  "message": ({ anthropic }) => anthropic.messages.create(message),
  "message-stream": ({ anthropic }) => collected(anthropic.messages.create({ ...message, stream: true })),
  "message-tool": ({ anthropic }) =>
    anthropic.messages.create({ ...message, tools: [{ name: "get_weather", input_schema: parameters }] }),
};

const run = async (name, call) => {
  let requests = 0;
  const counting = (...request) => {
    requests += 1;
    return fetch(...request);
  };
  const label = `${prefix}-${name}`;
  const defaultHeaders = { "x-sim-label": label, "x-tollgate-conversation": label };
  const common = { apiKey, defaultHeaders, fetch: counting };
  const clients = {
    openai: new OpenAI({ ...common, baseURL: openaiBase }),
    anthropic: new Anthropic({ ...common, baseURL: base }),
  };
  try {
    return { result: await call(clients), requests };
  } catch (error) {
    const { status, code, type } = error;
    return { error: { name: error.constructor.name, status, code, type, message: error.message }, requests };
  }
};

const results = {};
for (const [name, call] of Object.entries(calls)) results[name] = await run(name, call);
process.stdout.write(JSON.stringify(results));
