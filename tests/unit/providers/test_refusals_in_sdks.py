"""The official SDKs raise on our refusals, after one request, and on our last frame of a stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors

from gateway.errors import BudgetExceeded
from gateway.providers.registry import DIALECTS

REFUSAL = BudgetExceeded("The day's budget of team 'research' is used up.")
OPENING = {
    "chat.completions": b"""data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",\
"choices":[{"index":0,"delta":{"content":"Hi"}}]}

""",
    "responses": b"""event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Hi","item_id":"i","output_index":0,"content_index":0,\
"sequence_number":1,"logprobs":[]}

""",
    "messages": b"""event: message_start
data: {"type":"message_start","message":{"id":"m",\
"type":"message","role":"assistant","content":[],"model":"m",\
"usage":{"input_tokens":1,"output_tokens":1}}}

""",
    "streamGenerateContent": b"""data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}\r\n\r\n""",
}


class Refuser(ThreadingHTTPServer):
    """Refuses everything with 402; under ``/cut`` it starts a stream and ends it with our frame."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.requests_seen = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Refuser)
        self.server.requests_seen += 1
        self.rfile.read(int(self.headers.get("content-length", 0)))
        cut = self.path.startswith("/cut")
        path, _, query = self.path.removeprefix("/cut").partition("?")
        kind = "gemini" if ":" in path else "anthropic" if path == "/v1/messages" else "openai"
        dialect = DIALECTS[kind]
        route = dialect.match("POST", path, {"alt": "sse"} if "alt=sse" in query else {})
        assert route is not None
        if cut:
            body = OPENING[route.name] + dialect.stream_error(route, REFUSAL, "req_1")
            content_type = "text/event-stream"
        else:
            body, content_type = dialect.error(REFUSAL, "req_1"), "application/json"
        self.send_response(200 if cut else REFUSAL.status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-should-retry", "false")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture
def refuser() -> Iterator[Refuser]:
    server = Refuser()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


MESSAGES: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


def test_openai_raises_once_with_the_reason(refuser: Refuser) -> None:
    client = openai.OpenAI(api_key="k", base_url=refuser.url + "/v1")
    with client, pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="m", messages=MESSAGES)
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    assert refused.value.type == "insufficient_quota"
    assert refuser.requests_seen == 1


def test_openai_raises_inside_a_chat_stream(refuser: Refuser) -> None:
    with openai.OpenAI(api_key="k", base_url=refuser.url + "/cut/v1") as client:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        assert next(iter(stream)).choices[0].delta.content == "Hi"
        with pytest.raises(openai.APIError) as refused:
            list(stream)
    assert refused.value.code == "budget_exceeded"


def test_openai_raises_inside_a_responses_stream(refuser: Refuser) -> None:
    with openai.OpenAI(api_key="k", base_url=refuser.url + "/cut/v1") as client:
        stream = client.responses.create(model="m", input="Hi", stream=True)
        with pytest.raises(openai.APIError) as refused:
            list(stream)
    assert refused.value.code == "budget_exceeded"


def test_anthropic_raises_once_with_the_reason(refuser: Refuser) -> None:
    client = anthropic.Anthropic(api_key="k", base_url=refuser.url)
    with client, pytest.raises(anthropic.APIStatusError) as refused:
        client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.status_code == 402
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["type"] == "billing_error"
    assert refused.value.body["error"]["details"]["error_code"] == "budget_exceeded"
    assert refuser.requests_seen == 1


def test_anthropic_raises_inside_a_stream(refuser: Refuser) -> None:
    with anthropic.Anthropic(api_key="k", base_url=refuser.url + "/cut") as client:
        stream = client.messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(anthropic.APIStatusError) as refused:
            list(stream)
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["type"] == "billing_error"


def _google(url: str) -> genai.Client:
    return genai.Client(api_key="k", http_options={"base_url": url})


def test_google_raises_once_with_the_reason(refuser: Refuser) -> None:
    with _google(refuser.url) as client, pytest.raises(genai_errors.ClientError) as refused:
        client.models.generate_content(model="m", contents="Hi")
    assert (refused.value.code, refused.value.status) == (402, "RESOURCE_EXHAUSTED")
    assert refuser.requests_seen == 1


def test_google_raises_inside_a_stream(refuser: Refuser) -> None:
    with _google(refuser.url + "/cut") as client:
        stream = client.models.generate_content_stream(model="m", contents="Hi")
        with pytest.raises(genai_errors.ClientError) as refused:
            list(stream)
    assert (refused.value.code, refused.value.status) == (402, "RESOURCE_EXHAUSTED")
