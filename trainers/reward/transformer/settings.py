"""The transformer reward model: the section ``[transformer]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from trainers.models.precision import Precision

Margin = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class TransformerSettings(BaseModel):
    """The section ``[transformer]``.

    Attributes
    ----------
    model : folder or Hugging Face id of an encoder or a decoder; by default the packaged all-MiniLM-L6-v2
    learning_rate, epochs, batch, gradient_accumulation, warmup, weight_decay : of the optimiser; ``warmup`` is a share of the steps
    lora_rank, lora_alpha : of a LoRA adapter, which is merged in the end; rank 0 trains all weights
    margins : by how much, in log-odds, a negligible, slight, clear and significant preference has to win
    max_length : maximum tokens per prompt with its reply; a longer prompt loses its oldest turns. A row whose reply does not fit is not
        trained on, and counted; such a reply is scored in pieces
    calibration_share : share of the prompts that is not trained on, but used to fit the scale and how often recruiters say "tie"
    least_rows : minimum number of preferences to train on
    checkpoints : number of checkpoints per training, from which a killed training resumes
    seed : of the new output layer, dropout and row order
    precision : to compute in: ``bf16``, ``fp16`` or ``fp32``; None takes what the GPU does best, and fp32 on a CPU
    gradient_checkpointing : None enables it on a GPU and disables it on a CPU
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    epochs: Annotated[int, Field(ge=1)] = 3
    batch: Annotated[int, Field(ge=1)] = 16
    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    lora_rank: Annotated[int, Field(ge=0)] = 0
    lora_alpha: Annotated[int, Field(ge=1)] = 16
    margins: tuple[Margin, Margin, Margin, Margin] = (0.0, 1 / 3, 2 / 3, 1.0)
    max_length: Annotated[int, Field(ge=32)] = 256
    calibration_share: Share = 0.1
    least_rows: Annotated[int, Field(ge=1)] = 32
    checkpoints: Annotated[int, Field(ge=1)] = 3
    seed: int = 0
    precision: Precision | None = None
    gradient_checkpointing: bool | None = None
