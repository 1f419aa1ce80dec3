"""Stored artifacts come back unchanged or not at all, from a folder and from a remote store."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, ConfigurationError


@pytest.fixture(params=["folder", "file://", "memory://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "memory://":
        return Artifacts(f"memory://{tmp_path.name}/models", cache=tmp_path / "cache")
    return Artifacts(("file://" if request.param == "file://" else "") + str(tmp_path / "store"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(2_000_000))
    (folder / "tokenizer" / "vocab.json").write_text('{"a": 0}')
    (folder / "empty").write_bytes(b"")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_file_is_known_by_the_hash_of_its_bytes(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(b'{"n": 1}')
    sha = store.put(tmp_path / "report.json")
    assert sha == hashlib.sha256(b'{"n": 1}').hexdigest() == store.put_bytes(b'{"n": 1}')
    assert store.read(sha) == b'{"n": 1}'
    assert store.get(sha).is_file()
    assert sha in store


def test_a_folder_comes_back_with_every_file(store: Artifacts, adapter: Path) -> None:
    sha = store.put(adapter)
    assert store.put(adapter) == sha
    back = content(store.get(sha))
    assert {name: data for name, data in back.items() if name != "folder.json"} == content(adapter)
    with pytest.raises(ArtifactError, match="is a folder"):
        store.read(sha)


def test_a_folder_keeps_its_hash_from_store_to_store(store: Artifacts, adapter: Path, tmp_path: Path) -> None:
    sha = store.put(adapter)
    assert Artifacts(str(tmp_path / "other")).put(store.get(sha)) == sha
    (adapter / "folder.json").write_text("{}")
    with pytest.raises(ArtifactError, match="give that file another name"):
        store.put(adapter)


def test_the_hash_of_a_folder_sees_names_and_contents(store: Artifacts, adapter: Path) -> None:
    shas = [store.put(adapter)]
    (adapter / "empty").rename(adapter / "void")
    shas.append(store.put(adapter))
    (adapter / "void").write_bytes(b"x")
    shas.append(store.put(adapter))
    assert len(set(shas)) == 3


def test_another_machine_gets_it_from_the_remote_store(adapter: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/shared"
    sha = Artifacts(url, cache=tmp_path / "here").put(adapter)
    there = Artifacts(url, cache=tmp_path / "there")
    assert sha in there
    assert content(there.get(sha))["tokenizer/vocab.json"] == b'{"a": 0}'
    assert content(there.get(sha)) == content(tmp_path / "there" / sha[:2] / sha)


def test_a_corrupt_cached_copy_is_fetched_again(adapter: Path, tmp_path: Path) -> None:
    store = Artifacts(f"memory://{tmp_path.name}/shared", cache=tmp_path / "cache")
    sha = store.put(adapter)
    (store.get(sha) / "tokenizer" / "vocab.json").write_text("{}")
    assert content(store.get(sha))["tokenizer/vocab.json"] == b'{"a": 0}'


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "add", "listing", "both"])
def test_a_folder_that_was_tampered_with_is_refused(adapter: Path, tmp_path: Path, damage: str) -> None:
    store = Artifacts(str(tmp_path / "store"))
    sha = store.put(adapter)
    place = store.get(sha)
    weights = place / "adapter_model.safetensors"
    data = weights.read_bytes()
    if damage == "flip":
        weights.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    elif damage == "truncate":
        weights.write_bytes(data[:-1])
    elif damage == "remove":
        weights.unlink()
    elif damage == "add":
        (place / "extra.py").write_text("import this")
    elif damage == "both":
        old, new = hashlib.sha256(data).hexdigest(), hashlib.sha256(b"other weights").hexdigest()
        weights.write_bytes(b"other weights")
        (place / "folder.json").write_text((place / "folder.json").read_text().replace(old, new))
    else:
        (place / "folder.json").write_text("{}")
    with pytest.raises(ArtifactError, match=sha):
        store.get(sha)
    assert store.put(adapter) == sha  # storing the original again repairs the store
    assert content(store.get(sha))["adapter_model.safetensors"] == data


def test_downloads_from_a_remote_store_are_verified(adapter: Path, tmp_path: Path) -> None:
    import fsspec

    url = f"memory://{tmp_path.name}/spoilt"
    sha = Artifacts(url, cache=tmp_path / "here").put(adapter)
    files = fsspec.filesystem("memory")
    files.pipe_file(f"/{tmp_path.name}/spoilt/{sha[:2]}/{sha}/tokenizer/vocab.json", b"{}")
    there = Artifacts(url, cache=tmp_path / "there")
    with pytest.raises(ArtifactError, match=r"tokenizer/vocab\.json has another hash"):
        there.get(sha)
    assert not list((tmp_path / "there").rglob("vocab.json"))


def test_a_removed_artifact_is_gone_from_the_store_and_from_this_machine(store: Artifacts, adapter: Path, tmp_path: Path) -> None:
    kept, shas = store.put_bytes(b"kept"), (store.put(adapter), store.put_bytes(b"Rosa Marchetti"))
    for sha in shas:
        store.remove(sha)
        store.remove(sha)
        assert sha not in store
        with pytest.raises(ArtifactError, match="it is not there"):
            store.get(sha)
    assert store.read(kept) == b"kept"
    left = [path for path in tmp_path.rglob("*") if path.is_file() and adapter not in path.parents]
    assert [path.name for path in left] == [kept]
    assert store.put(adapter) == shas[0]


def test_what_a_killed_process_was_writing_is_removed_when_the_store_is_opened_later(tmp_path: Path) -> None:
    for name, age in (("abandoned", 2 * 3600), ("being-written", 60)):
        staged = tmp_path / f".new-{name}" / "adapter"
        staged.mkdir(parents=True)
        (staged / "weights").write_bytes(b"half")
        for path in (staged / "weights", staged, staged.parent):
            os.utime(path, (time.time() - age,) * 2)
    sha = Artifacts(str(tmp_path)).put_bytes(b"report")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".new-being-written", sha[:2]])


def test_a_missing_artifact_and_a_malformed_hash_are_refused(store: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="it is not there; copy it"):
        store.get("0" * 64)
    assert "0" * 64 not in store
    with pytest.raises(ArtifactError, match="not a SHA-256"):
        store.get("../../etc/passwd")
    with pytest.raises(ArtifactError, match="neither a file nor a folder"):
        store.put(tmp_path / "nowhere")


def test_an_unusable_store_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="name a folder that can be written"):
        Artifacts(str(tmp_path / "file" / "store"))
    with pytest.raises(ConfigurationError, match="nonsense"):
        Artifacts("nonsense://bucket", cache=tmp_path / "cache")


def test_a_new_store_is_closed_to_others(store: Artifacts, tmp_path: Path) -> None:
    root = store.get(store.put_bytes(b"what candidates wrote")).parents[1]
    assert root.stat().st_mode & 0o077 == 0


def test_several_writers_of_the_same_artifact_do_not_disturb_each_other(adapter: Path, tmp_path: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(Artifacts(str(tmp_path / "store")).put(adapter))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 6
    assert len(set(found)) == 1
    Artifacts(str(tmp_path / "store")).get(found[0])
    assert [path.name for path in (tmp_path / "store").iterdir()] == [found[0][:2]]
