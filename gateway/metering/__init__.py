"""Bytes in, usage out: readers of provider replies, the filter of injected usage, tokenizers, and what to charge.

Every reader takes the reply's content type (it decides between one JSON document, SSE and a JSON array; when it
lies or is empty the bytes decide) and implements `gateway.metering.reading.UsageReader`:

- ``openai_chat.OpenAiChatReader(content_type: str = "", options: ChatOptions = ChatOptions())``: chat completions
  and completions. ``openai_chat.OPTIONS_BY_KIND: Mapping[str, ChatOptions]`` has the ones that differ by kind.
- ``openai_responses.OpenAiResponsesReader(content_type: str = "", options: ResponsesOptions = ResponsesOptions())``
- ``openai_embeddings.OpenAiEmbeddingsReader(content_type: str = "")``
- ``openai_images.OpenAiImagesReader(content_type: str = "", label: str | None = None)``: ``label`` is
  "quality size" of the request, under which images are counted when no tokens are reported.
- ``anthropic.AnthropicReader(content_type: str = "", cache_ttl_1h: bool = False)``
- ``gemini.GeminiReader(content_type: str = "")``: generateContent, streamGenerateContent, embeddings.
- ``reading.NoReader()``: for routes whose reply is not metered.

``filter.UsageEventFilter()`` implements `UsageFilter`; ``conclusion.conclude(...)`` decides what is charged.
"""
