"""LoRA adapters: their settings, how they are attached to a model, merged for sampling, and saved."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ADAPTER = "policy"  # folder of the finished adapter under a run's output


class LoRASettings(BaseModel):
    """Settings that every method with a LoRA adapter has (Hu et al. 2021, arXiv:2106.09685).

    Attributes
    ----------
    lora_rank, lora_alpha, lora_modules : of the adapter; ``lora_modules`` are module names, or ``all-linear``
    quantization : ``4bit`` trains the adapter on a base model in four bits (QLoRA); needs the extra ``qlora``
    device_map : ``auto`` spreads the base model's layers over all GPUs, for models that do not fit on one
    processes : that train together; None starts one for each GPU, unless ``device_map`` spreads the model over all of them
    shown_prompts : number of prompts that are answered before, during and after the training, to show what it does; 0 is none
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora_rank: Annotated[int, Field(ge=1)] = 8
    lora_alpha: Annotated[int, Field(ge=1)] = 16
    lora_modules: str | tuple[str, ...] = "all-linear"
    quantization: Literal["4bit"] | None = None
    device_map: Literal["auto"] | None = None
    processes: Annotated[int, Field(ge=1)] | None = None
    shown_prompts: Annotated[int, Field(ge=0)] = 3

    def lora(self) -> Any:
        """The ``peft.LoraConfig``."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.lora_rank,
            lora_alpha=self.lora_alpha,
            lora_dropout=0.0,
            target_modules=self.lora_modules if isinstance(self.lora_modules, str) else list(self.lora_modules),
            task_type="CAUSAL_LM",
        )


@contextlib.contextmanager
def merged(model: Any) -> Iterator[None]:
    """Merge the adapter of a ``PeftModel`` into its weights for the duration of the block, which makes sampling faster.

    Only in float32: in bfloat16 a small update is lost by rounding, so there the adapter is left as it is. Afterwards the weights are
    restored from copies, since subtracting the update again would leave rounding errors that add up.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if any(weight.dtype != torch.float32 for weight in weights):
        yield
        return
    before = [weight.data.clone() for weight in weights]
    model.merge_adapter()
    try:
        yield
    finally:
        model.unmerge_adapter()
        for weight, original in zip(weights, before, strict=True):
            weight.data.copy_(original)


def write_adapter(model: Any, base: str, folder: Path) -> Path:
    """Save the adapter without a model card, so that the same training gives the same bytes; ``folder`` appears when it is complete."""
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial), safe_serialization=True)
    (partial / "README.md").unlink(missing_ok=True)
    config = json.loads((partial / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base  # as given by the caller, not the resolved path
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    (partial / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder
