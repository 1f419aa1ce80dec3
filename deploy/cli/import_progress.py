"""The progress bar of ``feedbackloop import``, on stderr if that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from trainers.data.files import count_rows


@contextmanager
def import_progress(file: Path) -> Iterator[Callable[[int, int], None] | None]:
    """A callback that takes the counts of records processed and refused; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("records, {task.fields[refused]} refused,"),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=count_rows(file), refused=0)

        def progress(done: int, refused: int) -> None:
            bar.update(task, completed=done, refused=refused)

        yield progress


class _Rate(ProgressColumn):
    """Records a second, over the last moments."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} a second" if task.speed else "")
