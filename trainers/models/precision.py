"""The number format to compute in, by what the GPU can do."""

from typing import Any, Literal

Precision = Literal["fp32", "bf16", "fp16"]


def precision_of(asked: Precision | None) -> Precision:
    """``asked``, or the fastest format that trains without loss of range: bf16 where a GPU has it, fp16 on older ones, fp32 on a CPU."""
    import torch

    if asked is not None:
        return asked
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def weights_dtype() -> Any:
    """What a model's weights are loaded as: as stored where the GPU has bf16, fp16 on older GPUs, fp32 on a CPU."""
    import torch

    return {"fp32": torch.float32, "bf16": "auto", "fp16": torch.float16}[precision_of(None)]
