"""The TypeScript client: its types are those of the OpenAPI documents, it compiles, and it chats and gives feedback.

``make clients`` installs the compiler and the generator under ``build/clients/typescript``.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import openapi
from storage.events import ReplySent, ResponseRated
from storage.settings import Settings
from tests.clients.stand_in import TEXT, app
from tests.serving.conftest import Server, run_app, run_serving

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "clients" / "typescript"
INSTALLED = ROOT / "build" / "clients" / "typescript"
SCRIPT = Path(__file__).parent / "scripts" / "typescript_client.mjs"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not (INSTALLED / "node_modules").exists(), reason="the clients are not installed: run `make clients`"),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with what is installed."""
    folder = tmp_path_factory.mktemp("typescript")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (folder / "node_modules").symlink_to(INSTALLED / "node_modules")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serving")
    with run_app(app()) as upstream:
        settings = Settings.read(folder, environ={}).with_values(
            {"home": folder / "home"}, upstream={"url": f"{upstream}/v1", "model": "m"}, serving={"pairing_share": 0.0}
        )
        with run_serving(settings) as running:
            yield running


def test_the_types_are_those_of_the_documents(package: Path, tmp_path: Path) -> None:
    openapi.main(tmp_path)
    ran(package, "npm", "run", "--silent", "generate", OPENAPI=str(tmp_path))
    for name in ("serving.d.ts", "hub.d.ts"):
        generated, kept = ((folder / "src" / name).read_text(encoding="utf-8") for folder in (package, SOURCE))
        assert generated == kept, f"clients/typescript/src/{name} is out of date: generate it again, see the README beside it"


def test_it_compiles_chats_and_gives_feedback(package: Path, server: Server) -> None:
    ran(package, "npm", "run", "--silent", "build")
    shutil.copy(SCRIPT, package / SCRIPT.name)
    found = json.loads(ran(package, "node", SCRIPT.name, server.url))
    assert found == {
        "chat": TEXT, "thumb": "accepted", "repeated": True, "pair": "accepted", "compare": "accepted", "edit": "accepted",
        "withdraw": "accepted", "outcome": "accepted",
        "refused": [404, "model_not_found", "model"], "reused": [422, "idempotency_key_reused"],
    }  # fmt: skip
    [reply] = [event for event in server.events("chat.replies") if isinstance(event, ReplySent)]
    [thumb] = [event for event in server.events("feedback.ratings") if isinstance(event, ResponseRated) and event.thumb]
    assert thumb.reply_id == reply.event_id


def ran(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
