"""What ``train`` and ``evaluate`` print while they work: the data as it was read, and the progress of each stage."""

import sys
import time
from collections.abc import Callable

from trainers.data.bad_lines import DataSummary


def data_report(say: Callable[[str], None], keep: Callable[[DataSummary], None] | None = None) -> Callable[[DataSummary], None]:
    """Report what was read and, on stderr, what was refused."""

    def report(summary: DataSummary) -> None:
        if summary.bad.count:
            sys.stderr.write(f"{summary.bad.as_text()}\n")
        say(summary.as_text())
        if keep is not None:
            keep(summary)

    return report


def stage_progress(
    say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[str, int, int, dict[str, float]], None]:
    """Print a line for each quarter of a stage, with the time that is left of it at the pace so far."""
    reported: set[tuple[str, int]] = set()
    started: dict[str, tuple[float, int]] = {}

    def report(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        since, first = started.setdefault(stage, (clock(), step))
        quarter = 4 * step // max(steps, 1)
        if (stage, quarter) not in reported:
            reported.add((stage, quarter))
            figures = "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
            left = (steps - step) * (clock() - since) / (step - first) if step > first else 0.0
            say(f"{stage}: {step} of {steps}{f', {_duration(left)} left' if left >= 1 else ''}  {figures}".rstrip())

    return report


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
