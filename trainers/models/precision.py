"""The number format to compute in, by what the hardware can do and by the size of the model."""

from typing import Any, Literal

Precision = Literal["fp32", "bf16", "fp16"]
LARGE = 100_000_000  # weights


def precision_of(asked: Precision | None, weights: int = 0) -> Precision:
    """``asked``, or what is fastest without loss of range, for a model of so many weights.

    On a GPU bf16 where it has it, else fp16. On a CPU bf16 for a large model where it is native (SmolLM2 trains twice as fast with it, the
    shipped model slower), else fp32.
    """
    import torch

    if asked is not None:
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    able = torch.cpu.get_capabilities()
    return "bf16" if weights > LARGE and (able.get("avx512_bf16") or able.get("amx_bf16")) else "fp32"


def weights_dtype() -> Any:
    """What a model's weights are loaded as: as stored where the GPU has bf16, fp16 on older GPUs, fp32 on a CPU."""
    import torch

    return {"fp32": torch.float32, "bf16": "auto", "fp16": torch.float16}[precision_of(None)]
