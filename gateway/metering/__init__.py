"""Bytes in, usage out: readers of replies, the filter of injected usage, tokenizers, and what to charge.

Every reader implements `gateway.metering.reading.UsageReader` and reads both forms of its reply: the first
bytes decide between one JSON document, SSE and a JSON array, because content types lie (a stream answered by
a JSON error). One reader serves one reply.

- ``openai_chat.OpenAiChatReader(options: ChatOptions = ChatOptions())``: chat completions and completions.
  ``openai_chat.OPTIONS_BY_KIND: Mapping[str, ChatOptions]`` has the kinds that differ.
- ``openai_responses.OpenAiResponsesReader(cost: CostField | None = None)``
- ``openai_embeddings.OpenAiEmbeddingsReader(cost: CostField | None = None)``
- ``openai_images.OpenAiImagesReader(label: str = "", cost: CostField | None = None)``: ``label`` is
  "quality size" of the request, under which images are counted when no tokens are reported.
- ``anthropic.AnthropicReader(cache_ttl_1h: bool = False)``
- ``gemini.GeminiReader()``: generateContent, streamGenerateContent, embeddings.
- ``reading.NoReader()``: for routes whose reply is not metered.

``filter.UsageEventFilter()`` implements `UsageFilter`. ``conclusion.conclude_async(ending, status_code,
reading, charged, counter)`` decides what is charged. ``tokens.TokenCounter(encodings.Encodings())`` counts.
"""
