"""Vectors inside events: base64 of little-endian float32, which JSON carries unchanged."""

import base64
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

_FLOAT32 = np.dtype("<f4")
# Nearly as quick as the quickest package, and it keeps Python's lock: what lets go of it waits beside a busy thread to get it back.
_base64: Any = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64")).validator.validate_strings


def _is_vector(text: str) -> str:
    if len(text) % 4 or "-" in text or "_" in text:  # which pydantic takes too
        raise ValueError("not base64 with '+', '/' and padding")
    try:
        raw: bytes = _base64(text)
    except ValidationError as error:
        raise ValueError("not base64") from error
    if not raw or len(raw) % 4:
        raise ValueError(f"{len(raw)} bytes are no float32 vector")
    highest = raw[3::4]  # what is not finite has all bits of its exponent set, the first seven of which stand here
    if (0x7F in highest or 0xFF in highest) and not np.isfinite(np.frombuffer(raw, _FLOAT32)).all():
        raise ValueError("a component is not finite")
    return text


Vector = Annotated[str, AfterValidator(_is_vector)]  # base64 of little-endian float32


def pack(vector: np.ndarray) -> Vector:
    """Base64 of the vector's components as little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def unpack(vector: Vector) -> np.ndarray:
    """The float32 components, shape ``(d,)``."""
    return np.frombuffer(_base64(vector), dtype="<f4")
