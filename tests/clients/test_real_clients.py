"""The clients that products use, unchanged, against serving before an upstream that calls tools and keeps to a schema.

``make clients`` installs them under ``build/clients``: LangChain and LlamaIndex in an environment of their own, the others for Node.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.events import ReplySent, ResponseRated
from storage.settings import Settings
from tests.clients.stand_in import TEXT, USAGE, app
from tests.serving.conftest import Server, run_app, run_serving

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / "build" / "clients"
SCRIPTS = Path(__file__).parent / "scripts"
SLOT = {"day": "Monday", "hour": 9}

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not (INSTALLED / "complete").exists(), reason="the clients are not installed: run `make clients`"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    with run_app(app()) as upstream:
        settings = Settings.read(folder, environ={}).with_values(
            {"home": folder / "home"}, upstream={"url": f"{upstream}/v1", "model": "m"}, serving={"pairing_share": 0.0}
        )
        with run_serving(settings) as running:
            yield running


def found_by(script: str, server: Server) -> dict[str, Any]:
    """What a script has printed, as JSON."""
    program = str(INSTALLED / "python" / "bin" / "python") if script.endswith(".py") else "node"
    # Node looks for packages in the folders above the script
    path = INSTALLED / script if script.endswith(".mjs") else SCRIPTS / script
    if path.parent == INSTALLED:
        path.write_text((SCRIPTS / script).read_text(encoding="utf-8"), encoding="utf-8")
    ran = subprocess.run([program, str(path), f"{server.url}/v1"], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def test_langchain_chats_streams_calls_tools_and_fills_a_schema(server: Server) -> None:
    assert found_by("langchain_client.py", server) == {
        "invoke": TEXT, "stream": TEXT, "agent": ["human", "ai", "tool", "ai"], "structured": SLOT, "responses": TEXT, "embedding": 384,
    }  # fmt: skip
    replies = server.events("chat.replies")
    assert any(
        isinstance(reply, ReplySent) and [message.role for message in reply.prompt] == ["user", "assistant", "user"] for reply in replies
    ), "the answer after the tool's result is logged with the call and the result as text"


def test_llama_index_completes_chats_and_calls_tools(server: Server) -> None:
    assert found_by("llama_index_client.py", server) == {
        "complete": TEXT, "stream_complete": TEXT, "chat_as_completion": TEXT, "chat": TEXT, "stream_chat": TEXT, "tool": "Monday at nine",
    }  # fmt: skip


def test_openais_client_for_node_uses_every_endpoint(server: Server) -> None:
    found = found_by("openai_client.mjs", server)
    assert found.pop("events") == [
        "response.created", "response.in_progress", "response.output_item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert found.pop("models") == ["m", "champion", "feedbackloop", "unlogged", "all-MiniLM-L6-v2"]
    assert (found["call"]["name"], json.loads(found.pop("call")["arguments"])) == ("interview", {"day": "Monday"})
    assert found == {
        "chat": TEXT, "stream": TEXT, "usage": USAGE["total_tokens"], "parsed": SLOT, "tools": TEXT, "response": TEXT, "completion": TEXT,
        "embedding": 384,
    }  # fmt: skip


def test_vercels_ai_sdk_uses_responses_and_chat_with_tools_and_schemas(server: Server) -> None:
    of_each = {"": TEXT, "_stream": TEXT, "_tools": [2, TEXT], "_tools_stream": TEXT, "_object": SLOT}
    assert found_by("ai_sdk_client.mjs", server) == {
        f"{api}{name}": value for api in ("responses", "chat") for name, value in of_each.items()
    }


def test_the_callback_for_langchain_sends_thumbs_on_replies_and_on_streams(server: Server) -> None:
    program = [str(INSTALLED / "python" / "bin" / "python"), str(ROOT / "examples" / "langchain_feedback.py"), server.url]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stderr
    text, first, streamed, second = ran.stdout.split("\n")[:4]
    assert (text, streamed) == (TEXT, TEXT)
    ratings = {str(event.event_id): event for event in server.events("feedback.ratings") if isinstance(event, ResponseRated)}
    assert (ratings[first].thumb, ratings[second].thumb) == ("up", "down")
    replies = [event for event in server.events("chat.replies") if isinstance(event, ReplySent)]
    assert ratings[first].reply_id == replies[-2].event_id
    assert (ratings[second].reply_id, ratings[second].conversation_id) == (None, "langchain-1")
    assert replies[-1].conversation_id == "langchain-1"
