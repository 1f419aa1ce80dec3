"""Log-probabilities of the reference are computed once for the same reply, model and arithmetic, and are the same afterwards."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from tests.trainers.test_dpo import FAST, preferred, silent
from trainers.models.policy import load_policy
from trainers.policy import reference_cache
from trainers.policy.dpo import train_dpo
from trainers.policy.reference_cache import ReferenceCache, reference_hash
from trainers.policy.training import CachePlace
from trainers.policy.trl_trainers import TokenizedDPO

pytestmark = pytest.mark.training

_key_of = ReferenceCache("any", CachePlace(Path("any"), b"key")).key_of
KEYS = [_key_of("a", [1, 2], [3]), _key_of("a", [1], [2, 3]), _key_of("b", [1, 2], [3])]


def test_what_was_added_is_found_by_another_run(tmp_path: Path) -> None:
    assert ReferenceCache("a", CachePlace(tmp_path, b"key")).get(KEYS) == [None, None, None]
    ReferenceCache("a", CachePlace(tmp_path, b"key")).add({KEYS[0]: -1.5, KEYS[1]: -2.5})
    ReferenceCache("a", CachePlace(tmp_path, b"key")).add({KEYS[0]: -1.25})
    assert ReferenceCache("a", CachePlace(tmp_path, b"key")).get(KEYS) == [-1.25, -2.5, None]
    assert ReferenceCache("b", CachePlace(tmp_path, b"key")).get(KEYS) == [None, None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_without_the_key_an_entry_does_not_say_what_was_said(tmp_path: Path) -> None:
    one, other = (ReferenceCache("a", CachePlace(tmp_path, key)) for key in (b"key", b"guess"))
    one.add({one.key_of("a", [1, 2], [3]): -1.5})
    assert one.get([one.key_of("a", [1, 2], [3])]) == [-1.5]
    assert one.get([other.key_of("a", [1, 2], [3])]) == [None]


@pytest.mark.parametrize("damage", ["cut", "changed", "nonsense"])
def test_a_damaged_file_is_ignored_and_replaced(damage: str, tmp_path: Path) -> None:
    ReferenceCache("a", CachePlace(tmp_path, b"key")).add({KEYS[0]: -1.5})
    path = tmp_path / "a.safetensors"
    if damage == "changed":
        tensors = {name: tensor.copy() for name, tensor in load_file(path).items()}
        tensors["values"][0] = 7
        save_file(tensors, path)
    else:
        path.write_bytes(path.read_bytes()[:-8] if damage == "cut" else b"nonsense")
    assert ReferenceCache("a", CachePlace(tmp_path, b"key")).get(KEYS[:1]) == [None]
    ReferenceCache("a", CachePlace(tmp_path, b"key")).add({KEYS[0]: -1.5})
    assert ReferenceCache("a", CachePlace(tmp_path, b"key")).get(KEYS[:1]) == [-1.5]


def test_it_holds_a_limited_number_of_entries_and_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_cache, "ENTRIES", 2)
    monkeypatch.setattr(reference_cache, "REFERENCES", 2)
    for number, key in enumerate(KEYS):
        ReferenceCache("a", CachePlace(tmp_path, b"key")).add({key: float(number)})
    assert ReferenceCache("a", CachePlace(tmp_path, b"key")).get(KEYS) == [None, 1.0, 2.0]
    for name in ("b", "c"):
        ReferenceCache(name, CachePlace(tmp_path, b"key")).add({KEYS[0]: 0.0})
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ReferenceCache("a", CachePlace(tmp_path / "file", b"key"))
    cache.add({KEYS[0]: -1.5})
    assert cache.get(KEYS[:1]) == [None]


def test_the_hash_is_that_of_the_base_and_its_arithmetic(tiny_model: Path) -> None:
    from peft import get_peft_model

    base = load_policy(str(tiny_model)).model
    hashed = reference_hash(base, "no")
    assert reference_hash(load_policy(str(tiny_model)).model, "no") == hashed
    assert reference_hash(base, "bf16") != hashed
    one, other = (get_peft_model(load_policy(str(tiny_model)).model, FAST.lora()) for _ in range(2))
    assert reference_hash(one, "no") == reference_hash(other, "no")  # whose adapters start from other random weights
    base.get_input_embeddings().weight.data[0, 0] += 1e-3
    assert reference_hash(base, "no") != hashed


def test_a_training_computes_new_rows_only_and_gives_the_same_policy(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    of_a_batch: Any = TokenizedDPO.compute_ref_log_probs

    def counted(self: TokenizedDPO, model: object, inputs: dict[str, object]) -> object:
        computed.append(len(inputs["input_ids"]) // 2)  # type: ignore[arg-type]
        return of_a_batch(self, model, inputs)

    monkeypatch.setattr(TokenizedDPO, "compute_ref_log_probs", counted)
    rows = preferred(40)

    def weights(name: str, cache: str, some: int) -> dict[str, object]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        computed.clear()
        return dict(load_file(train_dpo(str(tiny_model), rows[:some], FAST, tmp_path / name, silent).adapter / "adapter_model.safetensors"))

    without = weights("without", "empty", 40)
    assert sum(computed) == 40
    weights("earlier", "kept", 32)
    with_cache = weights("with", "kept", 40)
    assert sum(computed) == 8
    again = weights("again", "kept", 40)
    assert not computed
    for name, weight in without.items():
        assert (with_cache[name] == weight).all()  # type: ignore[attr-defined]
        assert (again[name] == weight).all()  # type: ignore[attr-defined]
