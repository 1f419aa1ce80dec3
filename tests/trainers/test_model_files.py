"""Model and adapter folders: intact, damaged, without a base model, and with a pickle inside."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from storage.errors import ModelNotFound
from storage.events import Message, Sampling
from storage.settings import Settings
from trainers.api import evaluate_policy, train_policy
from trainers.models.engine import generate
from trainers.models.policy import Policy, load_policy
from trainers.models.references import base_hash, layers
from trainers.models.scoring import log_probabilities

pytestmark = pytest.mark.training

PROMPTS = [(Message(role="user", content=text),) for text in ("Hello", "When is my interview?")]
ROOT = Path(__file__).parents[2]


def spoken(policy: Policy) -> list[str]:
    return generate(policy, PROMPTS, Sampling(temperature=0, max_tokens=12), seed=0)


def changed(path: Path, **values: object) -> None:
    """Set keys of a JSON file; None removes one."""
    found = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def lora(model: Path, folder: Path, seed: int) -> Path:
    """An adapter of ``model`` with weights that change what it says."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=16, target_modules=["q_proj", "up_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def made_adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora(tiny_model, tmp_path_factory.mktemp("adapters") / "first", 1)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def adapter(made_adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_adapter, tmp_path / "adapter"))


@pytest.mark.parametrize("names", [["bos_token"], ["eos_token"], ["pad_token"], ["bos_token", "eos_token", "pad_token", "unk_token"]])
def test_an_empty_special_token_is_an_absent_one(model: Path, tiny_model: Path, names: list[str]) -> None:
    changed(model / "tokenizer_config.json", **dict.fromkeys(names, ""))
    policy, whole = load_policy(str(model)), load_policy(str(tiny_model))
    assert "" not in policy.tokenizer.all_special_tokens
    assert [policy.chat.prompt_ids(prompt) for prompt in PROMPTS] == [whole.chat.prompt_ids(prompt) for prompt in PROMPTS]
    assert spoken(policy) == spoken(whole)
    assert [len(row) for row in log_probabilities(policy, PROMPTS, ["Yes", "No"])] == [4, 3]  # the reply's bytes and the end token


def test_a_template_may_still_join_an_empty_token_to_texts(model: Path) -> None:
    changed(model / "tokenizer_config.json", bos_token="")
    (model / "chat_template.jinja").write_text("{% for m in messages %}{{ bos_token + m['content'] }}{% endfor %}")
    policy = load_policy(str(model))
    assert policy.tokenizer.decode(policy.chat.prompt_ids(PROMPTS[0])) == "Hello"


def test_an_adapters_folder_loads_its_base_with_the_adapter(tiny_model: Path, adapter: Path) -> None:
    expected = spoken(load_policy(str(tiny_model), adapter))
    assert expected != spoken(load_policy(str(tiny_model)))
    assert spoken(load_policy(str(adapter))) == expected
    assert layers(str(adapter)) == (str(tiny_model), (adapter,))


def test_an_adapter_whose_base_is_an_adapter_is_applied_after_it(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    upper = lora(tiny_model, tmp_path / "upper", 2)
    changed(upper / "adapter_config.json", base_model_name_or_path=str(adapter))
    assert layers(str(upper)) == (str(tiny_model), (adapter, upper))
    weights = dict(load_policy(str(upper)).model.named_parameters())
    base, lower, top = (dict(load_policy(*parts).model.named_parameters()) for parts in _alone(tiny_model, adapter, upper))
    for name, both in weights.items():
        assert torch.allclose(both, lower[name] + top[name] - base[name], atol=1e-5), name


def _alone(model: Path, *adapters: Path) -> list[tuple[str, Path | None]]:
    return [(str(model), None), *((str(model), adapter) for adapter in adapters)]


def test_an_adapters_own_tokenizer_is_loaded_with_it(adapter: Path, tiny_model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, adapter / name)
    (adapter / "chat_template.jinja").write_text("{% for m in messages %}<{{ m['content'] }}>{% endfor %}")
    policy = load_policy(str(adapter))
    assert policy.tokenizer.decode(policy.chat.prompt_ids(PROMPTS[0])) == "<Hello>"


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("/nowhere/at/all", "its base model is not there .*nowhere/at/all.*base_model_name_or_path"),
        ("./beside", "its base model is not there .*beside.*base_model_name_or_path"),
        ("models/beside", r"models/beside \(the base of .*adapter\), its tokenizer: no model could be loaded"),
        ("", "adapter_config.json: it does not say which model"),
        (None, "adapter_config.json: it does not say which model"),
        ("ITSELF", "its own base"),
    ],
)
def test_an_adapter_whose_base_is_not_found_says_so(adapter: Path, base: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    changed(adapter / "adapter_config.json", base_model_name_or_path=str(adapter) if base == "ITSELF" else base)
    with pytest.raises(ModelNotFound, match=words):
        load_policy(str(adapter))


def test_training_and_evaluation_take_an_adapters_folder_as_their_model(adapter: Path, tmp_path: Path) -> None:
    lines = [{"prompt": f"Question {i}", "chosen": f"Hello {i}, by Monday.", "rejected": f"Hello {i}, see the portal."} for i in range(40)]
    data = tmp_path / "records.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    settings = Settings.read(tmp_path, {}).with_values(
        dpo={"least_rows": 8, "epochs": 1},
        evaluation={"max_tokens": 4, "names": 2, "kl_prompts": 4, "audit_pairs": 4, "audit_pairs_max": 4},
    )
    trained = train_policy(settings, data, str(adapter), tmp_path / "out")
    assert json.loads((trained.adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(adapter)
    report = evaluate_policy(settings, data, str(trained.adapter), str(adapter), tmp_path / "out")
    assert report.base == str(adapter)
    moved = report.findings["kl_budget"]  # counted from the model that was trained on
    assert (
        moved["base"]["per_reply"]["figure"] == moved["champion"]["per_reply"]["figure"] > 0
    )  # counted from the model that was trained on
    assert (
        report.lineage.base_hash
        == base_hash(str(adapter))
        != base_hash(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"])
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def shard(folder: Path) -> Path:
    """Save the model again in several files; the second of them."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    return sorted(folder.glob("model-*.safetensors"))[1]


def without_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def other_shape(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors") | {"model.layers.0.mlp.up_proj.weight": torch.zeros(3, 3)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda folder: cut(folder / "model.safetensors"), r"model\.safetensors: the weights are damaged or cut short"),
    "empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), r"model\.safetensors: the weights are damaged"),
    "garbage": (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 999), r"model\.safetensors: the weights are damaged"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors: the weights are missing"),
    "a shard is missing": (lambda folder: shard(folder).unlink(), r"model-00002-of-\d+\.safetensors: the weights are missing"),
    "a shard is cut": (lambda folder: cut(shard(folder)), r"model-00002-of-\d+\.safetensors: the weights are damaged or cut short"),
    "the index is cut": (lambda folder: cut(shard(folder).with_name("model.safetensors.index.json")), r"index\.json: damaged"),
    "a tensor is missing": (without_tensor, r"1 of its weights are missing, model\.layers\.0\.mlp\.up_proj\.weight"),
    "a tensor has another shape": (other_shape, "model: no model could be loaded"),
    "Git LFS": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        r"model\.safetensors: a Git LFS pointer.*git lfs pull",
    ),
    "a pickle": (as_pickle, r"pytorch_model\.bin: a pickle.*save it again"),
    "config is cut": (lambda folder: cut(folder / "config.json"), r"config\.json: damaged"),
    "tokenizer is cut": (lambda folder: cut(folder / "tokenizer.json"), r"tokenizer\.json: damaged"),
    "tokenizer is another thing": (lambda folder: (folder / "tokenizer.json").write_text('{"version": "9"}'), "its tokenizer"),
    "tokenizer is unknown": (lambda folder: changed(folder / "tokenizer.json", model={"type": "Unheard"}), "its tokenizer"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "its tokenizer"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_with_the_file_and_what_to_do(model: Path, damage: str) -> None:
    harm, words = DAMAGES[damage]
    harm(model)
    with pytest.raises(ModelNotFound, match=words):
        load_policy(str(model))


def test_a_sharded_model_and_one_that_has_a_pickle_beside_its_safetensors_are_loaded(model: Path, tiny_model: Path) -> None:
    shard(model)
    (model / "pytorch_model.bin").write_bytes(b"never read")
    assert spoken(load_policy(str(model))) == spoken(load_policy(str(tiny_model)))


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("name", ["adapter_model.bin", "training_args.bin", "x.pt", "x.pth", "x.pkl", "x.ckpt", "X.BIN"])
@pytest.mark.parametrize("also_safetensors", [True, False])
def test_an_adapter_with_a_pickle_inside_is_refused_by_name_and_nothing_is_unpickled(
    tiny_model: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, also_safetensors: bool
) -> None:
    ran = tmp_path / "ran"
    (adapter / name).write_bytes(pickle.dumps(Payload(ran)))
    if not also_safetensors:
        (adapter / "adapter_model.safetensors").unlink()
    reached: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: reached.append(arguments))
    for ref, over in ((str(tiny_model), adapter), (str(adapter), None)):
        with pytest.raises(ModelNotFound, match=rf"{name}: a pickle"):
            load_policy(ref, over)
    assert reached == []
    assert not ran.exists()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"adapter_model\.safetensors: the weights are missing"),
        (lambda folder: cut(folder / "adapter_model.safetensors"), r"adapter_model\.safetensors: the weights are damaged or cut short"),
        (lambda folder: cut(folder / "adapter_config.json"), r"adapter_config\.json: damaged"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), r"adapter_config\.json: damaged"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "contains no adapter"),
        (lambda folder: changed(folder / "adapter_config.json", r=5), "adapter: no model could be loaded"),
        (
            # which would be read by torch.load
            lambda folder: changed(
                folder / "adapter_config.json", peft_type="MULTITASK_PROMPT_TUNING", prompt_tuning_init_state_dict_path="/tmp/x.bin"
            ),
            "only LORA adapters",
        ),
    ],
)
def test_an_adapter_that_is_damaged_or_of_another_kind_is_refused(
    tiny_model: Path, adapter: Path, harm: Callable[[Path], object], words: str
) -> None:
    harm(adapter)
    with pytest.raises(ModelNotFound, match=words):
        load_policy(str(tiny_model), adapter)


def test_a_model_and_an_adapter_in_one_folder_are_refused(model: Path, adapter: Path) -> None:
    shutil.copytree(adapter, model, dirs_exist_ok=True)
    with pytest.raises(ModelNotFound, match="a model and an adapter"):
        load_policy(str(model))


def test_a_hugging_face_id_of_an_adapter_is_refused(adapter: Path, tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "models--somebody--adapter"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(adapter, repository / "snapshots" / ("0" * 40))
    program = "from trainers.models.policy import load_policy; load_policy('somebody/adapter')"
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "ModelNotFound: somebody/adapter: an adapter; fetch it with `hf download" in done.stderr
