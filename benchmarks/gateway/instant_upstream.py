"""The instant upstream: answers every chat at once, with as little work as a Python server can do.

Its replies end in a running number, because a pair needs two different replies: were they the same, each chat would ask four more times.
"""

import itertools
from typing import Any

import orjson

_NUMBERS = itertools.count()
_HEADERS = [(b"content-type", b"application/json")]
_TEXT = "Thank you for your question. Your interview is on Tuesday at ten, and it takes about half an hour."


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI app; every path and method gets the completion."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _completion(next(_NUMBERS))})


def _completion(number: int) -> bytes:
    message = {"role": "assistant", "content": f"{_TEXT} ({number})", "refusal": None}
    return orjson.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "instant",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 24, "total_tokens": 44},
        }
    )
