"""Workarounds that reach into libraries, one function each. ``test_workarounds.py`` fails when one stops having an effect."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks instead of mapping and zeroing them at every step, which took a fifth of CPU training time.

    Returns whether both limits are set; False without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(M_MMAP_THRESHOLD, 1 << 30), mallopt(M_TRIM_THRESHOLD, 2**31 - 1)])


@contextlib.contextmanager
def reply_logits_only() -> Iterator[None]:
    """Make TRL 1.16 compute logits at reply positions only, as it does with Triton.

    On a CPU it also computes the prompts' logits and masks them out: same numbers, a fifth slower with the shipped model.
    """
    import trl.trainer.utils

    fused: Any = trl.trainer.utils
    before = fused._use_triton
    fused._use_triton = lambda device: True
    try:
        yield
    finally:
        fused._use_triton = before


@contextlib.contextmanager
def tqdm_disabled() -> Iterator[None]:
    """Disable TRL's progress bar, which only this variable can turn off."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before


def keep_four_bit_weights_differentiable(model: Any) -> None:
    """Keep bitsandbytes 0.50 from repacking the 4-bit weights of ``model`` in its first pass without gradients on a CPU.

    On a CPU with bfloat16 it repacks them for inference, for good. A later training pass then runs through a kernel without a gradient, and
    the adapters of earlier layers get wrong ones, with a warning at most.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
