"""Independent parts of a benchmark side by side, such as the trainings of several seeds: one process a core."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """``work`` of each part, in their order; the first exception ends all.

    Each process has one thread: on a small model that does more in all than all threads for each part in turn, and a training with one
    thread is the same wherever it runs.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process loads torch
    try:
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            return list(pool.map(work, parts))
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
