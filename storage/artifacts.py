"""Content-addressed store of models, checkpoints, snapshots and reports, in a folder or behind any fsspec URL.

Events refer to artifacts by hash, never by location; each reader resolves the hash in its own store and verifies the content. Artifacts are
plain data (safetensors, Parquet, JSON); nothing is ever unpickled.
"""

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

import orjson

from storage.errors import ArtifactError, ConfigurationError
from storage.files import file_hash
from storage.places import shown, user_cache

MANIFEST = "folder.json"  # stored with a folder's files: {relative path: SHA-256}; its own hash is the folder's hash
CHUNK = 1 << 20
STAGED = ".new-"  # prefix of what is being written
ABANDONED = 3600.0  # seconds without a change after which its writer is taken for dead


class Artifacts:
    """A store of files and folders by SHA-256. A folder's hash is that of its sorted listing of file hashes.

    Parameters
    ----------
    url : a folder, or an fsspec URL (``s3://bucket/models``, ``memory://``)
    cache : folder for verified copies from a remote store; defaults to the user's cache directory. Unused for a local store
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.url = url.removeprefix("file://")
        remote = "://" in self.url
        self._remote = _Remote(self.url) if remote else None
        self._root = (cache or _default_cache(url)) if remote else Path(self.url)
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(f"artifacts = {shown(url)!r}: {error}; name a folder that can be written") from error
        self._sweep()

    def put(self, path: Path) -> str:
        """Store a copy of the file or folder and return its hash. A no-op if it is already stored."""
        path = Path(path)
        if path.is_file():
            return self._put_file(path, file_hash(path))
        if not path.is_dir():
            raise ArtifactError(f"{path} is neither a file nor a folder: nothing to store")
        files = {file.relative_to(path).as_posix(): file_hash(file) for file in sorted(path.rglob("*")) if file.is_file()}
        listed = files.pop(MANIFEST, None)  # a folder copied from one store to another keeps its hash
        listing = orjson.dumps(files, option=orjson.OPT_SORT_KEYS)
        if listed not in (None, hashlib.sha256(listing).hexdigest()):
            raise ArtifactError(f"{path / MANIFEST} is reserved for the store's own listing: give that file another name")
        sha = hashlib.sha256(listing).hexdigest()
        if self._check(self._path(sha), sha) is not None:
            with self._new_folder() as scratch:
                staged = Path(scratch) / sha
                for name, expected in files.items():
                    _copy(path / name, staged / name)
                    if file_hash(staged / name) != expected:
                        raise ArtifactError(f"{path / name} changed while it was being stored: store it when nothing writes there")
                (staged / MANIFEST).write_bytes(listing)
                self._move_into_place(staged, sha)
        self._push(sha)
        return sha

    def put_bytes(self, data: bytes) -> str:
        """Store the bytes and return their hash."""
        with self._new_folder() as scratch:
            file = Path(scratch) / "data"
            file.write_bytes(data)
            return self._put_file(file, hashlib.sha256(data).hexdigest())

    def get(self, sha: str) -> Path:
        """Return a local path to the file or folder, with every byte verified. Treat it as read-only.

        Raises
        ------
        ArtifactError
            It is missing, or its content does not have this hash.
        """
        _require_hash(sha)
        path = self._path(sha)
        wrong = self._check(path, sha) if path.exists() else "it is not there"
        if wrong is None:
            return path
        if self._remote is None:
            raise ArtifactError(f"artifact {sha} in {self._root}: {wrong}; copy it there from the store of the process that made it")
        with self._new_folder() as scratch:
            staged = Path(scratch) / sha
            self._remote.fetch(sha, staged)
            wrong = self._check(staged, sha) if staged.exists() else "it is not there"
            if wrong is not None:
                raise ArtifactError(
                    f"artifact {sha} in {shown(self.url)}: {wrong}; copy it there from the store of the process that made it"
                )
            self._move_into_place(staged, sha)
        return path

    def read(self, sha: str) -> bytes:
        """Return the verified bytes of a single file."""
        path = self.get(sha)
        if path.is_dir():
            raise ArtifactError(f"artifact {sha} is a folder, not a file: open it with get()")
        return path.read_bytes()

    def remove(self, sha: str) -> None:
        """Remove the file or folder; no-op if it is not stored. Other machines' verified copies from a remote store remain."""
        _require_hash(sha)
        if self._remote is not None:
            self._remote.remove(sha)
        with self._new_folder() as scratch, suppress(FileNotFoundError):
            os.replace(self._path(sha), Path(scratch) / sha)  # at once, so that nobody finds half a folder

    def __contains__(self, sha: str) -> bool:
        _require_hash(sha)
        return self._path(sha).exists() or (self._remote is not None and self._remote.holds(sha))

    def _put_file(self, file: Path, sha: str) -> str:
        if self._check(self._path(sha), sha) is not None:
            with self._new_folder() as scratch:
                staged = Path(scratch) / sha
                _copy(file, staged)
                if file_hash(staged) != sha:
                    raise ArtifactError(f"{file} changed while it was being stored: store it when nothing writes there")
                self._move_into_place(staged, sha)
        self._push(sha)
        return sha

    def _push(self, sha: str) -> None:
        if self._remote is not None and not self._remote.holds(sha):
            self._remote.send(self._path(sha), sha)

    def _path(self, sha: str) -> Path:
        return self._root / sha[:2] / sha

    def _new_folder(self) -> "tempfile.TemporaryDirectory[str]":
        # On the same file system as the destination, so that the rename is atomic.
        return tempfile.TemporaryDirectory(dir=self._root, prefix=STAGED, ignore_cleanup_errors=True)

    def _sweep(self) -> None:
        """Remove what killed processes were writing."""
        for staged in self._root.glob(f"{STAGED}*"):
            with suppress(OSError):  # its writer is alive and has just removed it
                changed = max(path.stat().st_mtime for path in (staged, *staged.rglob("*")))
                if time.time() - changed > ABANDONED:
                    shutil.rmtree(staged)

    def _move_into_place(self, staged: Path, sha: str) -> None:
        """Rename a verified artifact to its destination; concurrent writers of the same artifact are harmless."""
        path = self._path(sha)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and self._check(path, sha) is None:
            return
        if path.exists():  # corrupt: move it aside first
            os.replace(path, staged.with_name(f"{sha}.corrupt"))
        try:
            os.replace(staged, path)
        except OSError:
            if self._check(path, sha) is not None:
                raise
        _sync(path.parent)

    def _check(self, path: Path, sha: str) -> str | None:
        """Describe what is wrong with the artifact at ``path``; None if it is intact."""
        if path.is_file():
            return None if file_hash(path) == sha else "its content has another hash"
        listing = path / MANIFEST
        if not listing.is_file():
            return f"{MANIFEST} is missing"
        if file_hash(listing) != sha:
            return f"{MANIFEST} has another hash"
        files: dict[str, str] = orjson.loads(listing.read_bytes())
        present = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} - {MANIFEST}
        for name in sorted(files.keys() ^ present):
            return f"{name} is {'missing' if name in files else 'not part of it'}"
        return next((f"{name} has another hash" for name, expected in files.items() if file_hash(path / name) != expected), None)


class _Remote:
    """The same layout behind an fsspec URL. A folder's listing is uploaded last, and a folder without one does not exist."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"artifacts = {shown(url)!r}: {error}") from error
        self._root = PurePosixPath(root)

    def holds(self, sha: str) -> bool:
        return bool(self._files.isfile(self._at(sha)) or self._files.isfile(self._at(sha, MANIFEST)))

    def send(self, path: Path, sha: str) -> None:
        self._files.makedirs(self._at(sha[:2], "").rstrip("/"), exist_ok=True)
        if path.is_file():
            self._files.put_file(str(path), self._at(sha))
            return
        names = [file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file()]
        for name in [name for name in names if name != MANIFEST] + [MANIFEST]:
            target = PurePosixPath(self._at(sha, name))
            self._files.makedirs(str(target.parent), exist_ok=True)
            self._files.put_file(str(path / name), str(target))

    def remove(self, sha: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(self._at(sha, MANIFEST))
        with suppress(FileNotFoundError):
            self._files.rm(self._at(sha), recursive=True)

    def fetch(self, sha: str, path: Path) -> None:
        if self._files.isfile(self._at(sha)):
            self._files.get_file(self._at(sha), str(path))
        elif self._files.isfile(self._at(sha, MANIFEST)):
            path.mkdir()
            self._files.get_file(self._at(sha, MANIFEST), str(path / MANIFEST))
            for name in orjson.loads((path / MANIFEST).read_bytes()):
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise ArtifactError(f"artifact {sha}: {name!r} points outside its folder")
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(self._at(sha, name), str(path / name))

    def _at(self, sha: str, *name: str) -> str:
        return str(self._root.joinpath(sha[:2], sha, *name)) if len(sha) > 2 else str(self._root / sha)


def _require_hash(sha: str) -> None:
    if len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
        raise ArtifactError(f"{sha[:80]!r} is not a SHA-256 in lower-case hex")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, CHUNK)
        write.flush()
        os.fsync(write.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _default_cache(url: str) -> Path:
    return user_cache() / hashlib.sha256(url.encode()).hexdigest()[:16]
