"""LlamaIndex: its default, the older completions endpoint, then chat and a tool. Prints what came back as JSON."""

import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

QUESTION = [ChatMessage(role="user", content="When is the interview?")]


def interview(day: str) -> str:
    """The interviews of a day."""
    return f"{day} at nine"


def main(url: str) -> None:
    older = OpenAILike(model="champion", api_base=url, api_key="none", max_tokens=40)
    chat = OpenAILike(model="champion", api_base=url, api_key="none", is_chat_model=True, is_function_calling_model=True)
    found = {
        "complete": older.complete("When is the interview?").text,
        "stream_complete": list(older.stream_complete("When is the interview?"))[-1].text,
        "chat_as_completion": older.chat(QUESTION).message.content,
        "chat": chat.chat(QUESTION).message.content,
        "stream_chat": list(chat.stream_chat(QUESTION))[-1].message.content,
        "tool": chat.predict_and_call([FunctionTool.from_defaults(interview)], "When?").response,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
