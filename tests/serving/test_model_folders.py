"""Model folders as found in practice: adapters, empty special tokens, damaged files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serving.app import create_app
from storage.errors import ConfigurationError
from storage.events import Message, Sampling
from storage.settings import Settings
from tests.serving.conftest import Start, StartApp, WaitUntil

pytestmark = pytest.mark.training

ASKED = [{"role": "user", "content": "when is the interview ?"}]


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "model"))


def answered(start: Start, settings: Settings, model: Path) -> str:
    with start(settings.with_values({"model": str(model)})) as server:
        answer = server.whole(model="champion", messages=ASKED, temperature=0, max_tokens=12)
    content = answer.choices[0].message.content
    assert content is not None
    return content


@pytest.mark.parametrize("names", [["bos_token"], ["eos_token"], ["bos_token", "eos_token", "pad_token"]])
def test_a_model_with_empty_special_tokens_answers_as_without_them(
    start: Start, settings: Settings, tiny_model: Path, tmp_path: Path, names: list[str]
) -> None:
    model = copied(tiny_model, tmp_path)
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | dict.fromkeys(names, "")))
    assert answered(start, settings, model) == answered(start, settings, tiny_model)


def test_an_adapters_folder_is_served_over_its_base(start: Start, settings: Settings, tiny_model: Path, adapter: Path) -> None:
    from trainers.models.engine import generate
    from trainers.models.policy import load_policy

    prompt = [Message.model_validate(message) for message in ASKED]
    [expected] = generate(load_policy(str(tiny_model), adapter), [prompt], Sampling(temperature=0, max_tokens=12), seed=0)
    assert answered(start, settings, adapter) == expected


def test_readyz_names_the_damaged_file_and_the_process_is_told_to_give_up(
    start_app: StartApp, settings: Settings, tiny_model: Path, tmp_path: Path, wait_until: WaitUntil
) -> None:
    model = copied(tiny_model, tmp_path)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    given_up: list[ConfigurationError] = []
    app = create_app(settings.with_values({"model": str(model)}), give_up=given_up.append)
    with start_app(app) as url:
        wait_until(lambda: given_up, 200)
        answer = httpx.get(f"{url}/readyz")
    assert answer.status_code == 503
    assert "model.safetensors: the weights are damaged or cut short" in answer.text


def test_the_command_ends_with_code_2_and_one_line_that_names_the_file(settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    model = copied(tiny_model, tmp_path)
    (model / "model.safetensors").unlink()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEDBACKLOOP_")} | {
        "FEEDBACKLOOP_HOME": str(settings.common.home),
        "FEEDBACKLOOP_MODEL": str(model),
        "FEEDBACKLOOP_SERVING__PORT": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "deploy.cli", "serving"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"feedbackloop: {model / 'model.safetensors'}: the weights are missing")
    assert "Traceback" not in done.stderr
