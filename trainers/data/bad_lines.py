"""The lines of a file that are no preference records, and what people are told of them: by ``import``, ``train`` and ``evaluate`` alike."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from storage.errors import DataRefused
from storage.events import Stratum
from trainers.data.files import is_csv, is_parquet
from trainers.data.hints import hint

SHOWN = 20  # complaints a file: the first ones tell what is wrong with it
LONGEST_REASON = 300  # characters


@dataclass(frozen=True)
class BadLine:
    """A line (or row, from 1) that is no record, and why."""

    number: int
    reason: str


@dataclass
class BadLines:
    """The first of a file's bad lines, and how many there are: a file may have millions."""

    path: Path = field(compare=False)
    first: list[BadLine] = field(default_factory=list)
    count: int = 0

    def add(self, bad: BadLine) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(bad)

    def as_text(self) -> str:
        """The first complaints, how many more there are, and a hint where the file's layout is recognised."""
        lines = [f"{self._unit} {bad.number}: {bad.reason[:LONGEST_REASON]}" for bad in self.first]
        if self.count > len(self.first):
            lines.append(f"and {self.count - len(self.first):,} more")
        if words := hint(self.path):
            lines.append(f"hint: {words}")
        return "\n".join(lines)

    def all_refused(self) -> DataRefused:
        """The error for a file in which not one line is good."""
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
    """What was read before training or evaluation starts: records of each stratum, and the bad lines."""

    training: int
    held_out: int
    bad: BadLines
    layout: str

    @classmethod
    def of(cls, answers: Iterable[_Split], bad: BadLines, layout: str) -> "DataSummary":
        strata = [answer.stratum for answer in answers]
        return cls(strata.count("training"), strata.count("evaluation"), bad, layout)

    def as_text(self) -> str:
        """One line for people."""
        records = self.training + self.held_out
        split = f"{self.training:,} for training, {self.held_out:,} held out for evaluation"
        return f"{records:,} records in the form of {self.layout}, {self.bad.count:,} refused; {split}"
