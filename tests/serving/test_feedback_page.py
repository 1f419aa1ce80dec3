"""The examples of docs/feedback.md run as they stand, but for the server's address."""

import re
import time
import tomllib
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from serving.feedback.table import KINDS
from storage.events import ResponseEdited, ResponseRated, new_id
from streams.webhooks.settings import NOTICE_KINDS, WebhookSettings
from streams.webhooks.signature import keys_of, signed_headers
from tests.serving.conftest import Server

PAGE = (Path(__file__).parents[2] / "docs" / "feedback.md").read_text("utf-8")
SECRET = "whsec_" + "c2VjcmV0" * 4


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_examples_of_the_page_are_recorded(server: Server) -> None:
    body = b'{"type": "model.promoted"}'
    headers = signed_headers(keys_of(SecretStr(SECRET)), "msg_1", int(time.time()), body)
    names: dict[str, Any] = {"reply_id": str(new_id()), "secret": SECRET, "body": body, "headers": headers}
    before = len(server.events("feedback.ratings"))
    for block in blocks("python"):
        exec(block.replace("http://127.0.0.1:8000", server.url).replace("Client()", f"Client({server.url!r})"), names)
    assert names["answer"].status_code == 200
    assert names["notice"] == {"type": "model.promoted"}
    logged = server.events("feedback.ratings")[before:]
    assert [type(event) for event in logged] == [ResponseRated, ResponseRated, ResponseRated, ResponseEdited]


def test_the_page_lists_every_kind_and_its_settings_are_valid() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert rows == [*sorted((kind.name for kind in KINDS), key=rows.index), *NOTICE_KINDS]
    [settings] = blocks("toml")
    section = tomllib.loads(settings)["webhooks"] | {"secrets": {"ops": SECRET}}
    assert WebhookSettings.model_validate(section).endpoints["ops"].kinds == ("gates.failed", "model.promoted")
