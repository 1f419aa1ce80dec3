"""A LangChain callback that keeps the ids of replies, so that a product can send what recruiters say of them.

    pip install feedbackloop langchain-openai
    feedbackloop up
    python examples/langchain_feedback.py http://127.0.0.1:8000

LangChain drops unknown fields of responses, but keeps headers if ``include_response_headers`` is set. A stream's headers are sent before
its reply has an id, so feedback on it names the conversation and means that one's last reply.
"""

import sys
from typing import Any, Literal

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult
from langchain_openai import ChatOpenAI

from feedbackloop import Client
from feedbackloop.receipts import Receipt
from feedbackloop.reply_feedback import ReplyIds


class FeedbackHandler(BaseCallbackHandler):  # type: ignore[misc]  # LangChain is not installed where types are checked
    """Keeps the ids of each reply of the models that it is passed to, the latest last."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.replies: list[ReplyIds] = []

    def on_llm_end(self, response: LLMResult, **run: Any) -> None:
        """Called by LangChain after each reply."""
        headers = response.generations[0][0].message.response_metadata.get("headers", {})
        names = {"conversation_id": "conversation", "reply_id": "reply", "pair_id": "pair"}
        self.replies.append(ReplyIds(**{field: headers.get(f"x-feedbackloop-{name}") for field, name in names.items()}))

    def thumb(self, thumb: Literal["up", "down"], *, recruiter: str, reply: ReplyIds | None = None) -> Receipt:
        """Record a thumb on a reply, by default the latest."""
        ids = reply or self.replies[-1]
        conversation = ids.conversation_id if ids.reply_id is None else None
        return self._client.rate(conversation, thumb, recruiter=recruiter, reply_id=ids.reply_id)


def main(url: str) -> None:
    handler = FeedbackHandler(Client(url))
    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="unused", model="champion", include_response_headers=True, callbacks=[handler])
    print(chat.invoke("When is my interview?").content)
    print(handler.thumb("up", recruiter="ana").event_id)
    in_one = {"metadata": {"conversation_id": "langchain-1"}}
    print("".join(str(chunk.content) for chunk in chat.stream("Which documents do you need?", extra_body=in_one)))
    print(handler.thumb("down", recruiter="ana").event_id)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
