"""Collects a file's invalid lines and formats the summary that ``import``, ``train`` and ``evaluate`` print."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from storage.errors import DataRefused
from storage.events import Stratum
from trainers.data.files import is_csv, is_parquet
from trainers.data.hints import hint

MAX_SHOWN = 20  # reasons listed per file
MAX_REASON_LENGTH = 300  # characters


@dataclass(frozen=True)
class BadLine:
    """A line (or row, from 1) that is not a valid record, and the reason."""

    number: int
    reason: str


@dataclass
class BadLines:
    """The first bad lines of a file and their total number, since a file may have millions."""

    path: Path = field(compare=False)
    first: list[BadLine] = field(default_factory=list)
    count: int = 0

    def add(self, bad: BadLine) -> None:
        self.count += 1
        if len(self.first) < MAX_SHOWN:
            self.first.append(bad)

    def as_text(self) -> str:
        """The first reasons, how many more there are, and a hint if the file's format is recognised."""
        lines = [f"{self._unit} {bad.number}: {bad.reason[:MAX_REASON_LENGTH]}" for bad in self.first]
        if self.count > len(self.first):
            lines.append(f"and {self.count - len(self.first):,} more")
        if text := hint(self.path):
            lines.append(f"hint: {text}")
        return "\n".join(lines)

    def all_refused(self) -> DataRefused:
        """The error for a file without a single valid line."""
        if not self.count:
            return DataRefused(f"{self.path}: it is empty; expected one record a line, with prompt, chosen and rejected")
        lines = f"{self.count:,} {self._unit}{'' if self.count == 1 else 's'}"
        return DataRefused(f"{self.path}: no preference record in {lines}\n{self.as_text()}")

    @property
    def _unit(self) -> str:
        return "row" if is_parquet(self.path) or is_csv(self.path) else "line"


class _Split(Protocol):
    @property
    def stratum(self) -> Stratum: ...


@dataclass(frozen=True)
class DataSummary:
    """Records of each stratum and bad lines, reported before training or evaluation starts."""

    training: int
    held_out: int
    bad: BadLines
    layout: str

    @classmethod
    def of(cls, answers: Iterable[_Split], bad: BadLines, layout: str) -> "DataSummary":
        strata = [answer.stratum for answer in answers]
        return cls(strata.count("training"), strata.count("evaluation"), bad, layout)

    def as_text(self) -> str:
        """The summary as one line."""
        records = self.training + self.held_out
        split = f"{self.training:,} for training, {self.held_out:,} held out for evaluation"
        return f"{records:,} records in the form of {self.layout}, {self.bad.count:,} refused; {split}"
