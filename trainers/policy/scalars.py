"""A training's metrics as TensorBoard files: ``tensorboard --logdir FOLDER`` draws them."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class Scalars:
    """Writes each step's metrics under ``folder``; a resumed training goes on in another file and replaces the steps that it repeats."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """The metrics after ``step`` steps; names are those of the progress events."""
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
