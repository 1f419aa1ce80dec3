"""How texts are embedded: the section ``[features]``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from storage.places import FullPath
from storage.settings import section

Arithmetic = Literal["auto", "float32", "bfloat16"]


@section("features")
class FeatureSettings(BaseModel):
    """The section ``[features]``.

    Attributes
    ----------
    encoder : folder of a BERT sentence encoder; by default the packaged all-MiniLM-L6-v2
    whitening : file of the whitening P; by default the shipped one
    prompt_tokens : number of trailing prompt tokens that are read
    arithmetic : ``auto`` is bfloat16 on CPUs that support it and float32 elsewhere
    threads : CPU threads of the encoder
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: FullPath | None = None
    whitening: FullPath | None = None
    prompt_tokens: Annotated[int, Field(ge=8, le=128)] = 64
    arithmetic: Arithmetic = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
