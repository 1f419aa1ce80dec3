"""LangChain: chat, stream, an agent with a tool, structured output, the Responses API and embeddings. Prints what came back as JSON."""

import json
import sys

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Slot(BaseModel):
    day: str
    hour: int


@tool
def interview(day: str) -> str:
    """The interviews of a day."""
    return f"{day} at nine"


def main(url: str) -> None:
    chat = ChatOpenAI(base_url=url, api_key="none", model="champion", temperature=0.2, max_tokens=40)
    agent = create_agent(chat, [interview])
    responses = ChatOpenAI(base_url=url, api_key="none", model="champion", use_responses_api=True)
    # by default the text is sent as token ids of one of OpenAI's models, which mean another text to this one
    embeddings = OpenAIEmbeddings(base_url=url, api_key="none", model="all-MiniLM-L6-v2", check_embedding_ctx_length=False)
    found = {
        "invoke": chat.invoke("When is the interview?").content,
        "stream": "".join(chunk.content for chunk in chat.stream("When is the interview?")),
        "agent": [message.type for message in agent.invoke({"messages": [{"role": "user", "content": "When?"}]})["messages"]],
        "structured": chat.with_structured_output(Slot).invoke("When?").model_dump(),
        "responses": responses.invoke("When?").text,
        "embedding": len(embeddings.embed_query("hello")),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
