"""The OpenAPI document is exact: real responses have the statuses, headers and bodies that it publishes."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from docs.openapi import documents
from tests.serving.conftest import Server

PAIR = "0195f0a0-0000-7000-8000-000000000000"
USER = {"role": "user", "content": "when is the interview ?"}
CHAT = {"model": "champion", "messages": [USER], "max_tokens": 4}
COMPARISON = {"type": "comparison", "pair_id": PAIR, "recruiter": "Ada", "choice": "A"}
COMMENT = {"type": "comment", "reply_id": PAIR, "recruiter": "Ada", "comment": "too long"}
EDIT = {"type": "edit", "prompt": [USER], "original": "no", "edited": "yes", "recruiter": "Ada"}
REQUESTS: list[tuple[str, Any, int]] = [
    ("/v1/models", None, 200),
    ("/v1/models/champion", None, 200),
    ("/v1/models/nothing", None, 404),
    ("/v1/chat/completions", CHAT, 200),
    ("/v1/chat/completions", CHAT | {"n": 2, "logprobs": True, "top_logprobs": 2, "store": False, "colour": "red"}, 200),
    ("/v1/chat/completions", CHAT | {"max_tokens": 4.0, "seed": 3.0}, 200),
    ("/v1/chat/completions", CHAT | {"model": "nothing"}, 404),
    ("/v1/completions", {"model": "champion", "prompt": "when ?", "max_tokens": 4, "logprobs": 1}, 200),
    ("/v1/completions", {"model": "champion", "prompt": "when ?", "suffix": "then"}, 400),
    ("/v1/responses", {"model": "champion", "input": "when ?", "max_output_tokens": 4}, 200),
    ("/v1/responses", {"model": "champion", "input": "when ?", "background": True}, 400),
    ("/v1/embeddings", {"model": "embedding", "input": ["when ?", "then"]}, 200),
    ("/v1/embeddings", {"model": "embedding", "input": "when ?", "encoding_format": "base64"}, 200),
    ("/v1/feedback", COMPARISON, 200),
    ("/v1/feedback", COMMENT, 200),
    ("/v1/feedback", EDIT, 200),
    ("/v1/feedback/bulk", {"items": [COMPARISON, COMMENT]}, 200),
    ("/v1/feedback/bulk", {"items": [COMPARISON, {"type": "applause"}]}, 207),
    ("/v1/pairs", {"prompt": [USER], "responses": ["yes", "no"]}, 200),
    ("/v1/outcomes", {"candidate": "c", "groups": {"sex": "female"}}, 200),
    ("/v1/outcomes", {"candidate": "c", "outcome": {"position": "p", "stage": "s", "selected": True}}, 200),
    ("/v1/outcomes", {"candidate": "c"}, 400),
    ("/v1/rerank", None, 200),
    ("/v1/rerank", {"model": "reward", "query": "when ?", "documents": ["noon"]}, 409),
    ("/v1/reward", {"messages": [USER], "responses": ["noon"]}, 409),
]
STREAMS = [
    ("/v1/chat/completions", CHAT | {"stream": True, "logprobs": True, "stream_options": {"include_usage": True}}),
    ("/v1/completions", {"model": "champion", "prompt": "when ?", "max_tokens": 4, "stream": True}),
    ("/v1/responses", {"model": "champion", "input": "when ?", "max_output_tokens": 4, "stream": True}),
]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return documents()["serving"]


@pytest.mark.parametrize(("path", "body", "status"), REQUESTS, ids=[f"{i}-{path}" for i, (path, _, _) in enumerate(REQUESTS)])
def test_responses_and_requests_have_the_published_form(
    server: Server, published: dict[str, Any], path: str, body: Any, status: int
) -> None:
    url = f"{server.url}{path}"
    answer = httpx.get(url) if body is None else httpx.post(url, json=body, timeout=60)
    assert answer.status_code == status, answer.text
    operation = operation_of(published, path, body)
    described = response_of(operation, status)
    checked(published, described["content"]["application/json"]["schema"], answer.json())
    for name, header in described.get("headers", {}).items():
        assert name in answer.headers or not header.get("required"), name
    if body is not None:
        fits = Draft202012Validator(operation["requestBody"]["content"]["application/json"]["schema"]).is_valid(body)
        assert fits == (status != 400), "a request is refused as invalid if and only if it does not fit its schema"


@pytest.mark.parametrize(("path", "body"), STREAMS)
def test_events_have_the_published_form(server: Server, published: dict[str, Any], path: str, body: Any) -> None:
    item = published["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]
    data = item["properties"]["data"]
    schema = (data["anyOf"][0] if "anyOf" in data else data)["contentSchema"]["anyOf"][0]
    text = httpx.post(f"{server.url}{path}", json=body, timeout=60).text
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    assert len(events) > 1
    for event in events:
        checked(published, schema, json.loads(event))


def test_the_document_is_what_the_server_publishes_and_describes_every_response(server: Server, published: dict[str, Any]) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == published
    for document in documents().values():
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert {"4XX", "5XX"} < set(operation["responses"]), f"{method} {path}"
                for status, response in operation["responses"].items():
                    json_of = response.get("content", {}).get("application/json", {"schema": True})
                    assert json_of["schema"] or "Content-Disposition" in response["headers"], f"{method} {path} {status}"


def test_a_wrong_method_is_answered_with_all_that_there_are(server: Server) -> None:
    for path, methods in (("/v1/rerank", "GET, POST"), ("/v1/models/champion", "GET"), ("/v1/pairs", "POST")):
        answer = httpx.request("PUT", f"{server.url}{path}")
        assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


def operation_of(document: Mapping[str, Any], path: str, body: Any) -> dict[str, Any]:
    template = path if path in document["paths"] else "/v1/models/{name}"
    found: dict[str, Any] = document["paths"][template]["get" if body is None else "post"]
    return found


def response_of(operation: Mapping[str, Any], status: int) -> dict[str, Any]:
    found: dict[str, Any] = operation["responses"].get(str(status)) or operation["responses"][f"{status // 100}XX"]
    return found


def checked(document: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> None:
    """Validate with the references of the document."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)
