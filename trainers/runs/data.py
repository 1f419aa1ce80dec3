"""The data that a run trains on and is evaluated with: a frozen snapshot's folder, or a file of preference records."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.events import Message, Source
from storage.files import file_hash
from storage.snapshots.snapshot import Snapshot, open_snapshot
from storage.texts.texts import PLAIN, Texts
from trainers.data.bad_lines import BadLines, DataSummary
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.data.records import read_file
from trainers.data.snapshots import preferences_of, ratings_of, rewrites_of, trial_prompts, trial_prompts_among


@dataclass(frozen=True)
class RunData:
    """The data of a run, read once.

    Attributes
    ----------
    preferences : both strata, without training rows that also occur in the evaluation stratum (``overlap`` counts them)
    rated, demonstrated : a file's ratings and demonstrations; see :attr:`ratings` and :attr:`demonstrations`
    bad : invalid lines of a file
    layout : name of the layout of the file's records
    digest : SHA-256 of the snapshot's manifest, or of the file
    snapshot : None for a file
    """

    preferences: tuple[Preference, ...]
    bad: BadLines
    layout: str
    digest: str
    snapshot: Snapshot | None
    rated: tuple[Rating, ...] = ()
    demonstrated: tuple[Demonstration, ...] = ()

    @classmethod
    def read(cls, path: Path, texts: Texts = PLAIN) -> "RunData":
        """Read a snapshot's folder, whose texts ``texts`` opens, or a file.

        Raises
        ------
        ConfigurationError
            There is nothing readable at ``path``.
        DataRefused
            No line of the file is a record.
        """
        if path.is_dir():
            snapshot = open_snapshot(path, texts)
            return cls(tuple(preferences_of(snapshot)), BadLines(path), "a snapshot", data_hash(path), snapshot)
        data = read_file(path)
        return cls(data.preferences, data.bad, data.layout, data_hash(path), None, data.ratings, data.demonstrations)

    def prompts(self, most: int) -> list[tuple[Message, ...]]:
        """The newest prompts of the evaluation stratum, at most ``most``, oldest first."""
        return trial_prompts(self.snapshot, most) if self.snapshot is not None else trial_prompts_among(self.preferences, most)

    @property
    def ratings(self) -> tuple[Rating, ...]:
        """Thumbs and "neither" of a snapshot, without training rows that overlap with the evaluation stratum; or a file's ratings."""
        return tuple(ratings_of(self.snapshot)) if self.snapshot is not None else self.rated

    @property
    def demonstrations(self) -> tuple[Demonstration, ...]:
        """The recruiters' rewrites in a snapshot, or a file's demonstrations."""
        return tuple(rewrites_of(self.snapshot)) if self.snapshot is not None else self.demonstrated

    @property
    def groups(self) -> Mapping[str, Mapping[str, str]]:
        """The groups recorded of each conversation's candidate, by attribute; only audits read them."""
        found: dict[str, dict[str, str]] = {}
        for row in self.snapshot.groups.to_pylist() if self.snapshot is not None else ():
            found.setdefault(row["conversation_id"], {})[row["attribute"]] = row["group"]
        return found

    @property
    def overlap(self) -> int:
        return self.snapshot.overlap if self.snapshot is not None else 0

    @property
    def through_sequence(self) -> int | None:
        return self.snapshot.manifest.through_sequence if self.snapshot is not None else None

    @property
    def sources(self) -> tuple[Source, ...]:
        if self.snapshot is not None:
            return tuple(self.snapshot.manifest.sources)
        return tuple(sorted({each.source for each in self._records}))

    @property
    def summary(self) -> DataSummary:
        """The summary that is reported before a run starts."""
        return DataSummary.of(self._records, self.bad, self.layout)

    @property
    def _records(self) -> "tuple[Preference | Rating | Demonstration, ...]":
        return (*self.preferences, *self.rated, *self.demonstrated)


def data_hash(path: Path) -> str:
    """SHA-256 of a snapshot's manifest, which names its files by hash, or of a file."""
    return file_hash(path / "manifest.json" if path.is_dir() else path)
