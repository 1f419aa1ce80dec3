"""Vectors in events: base64 of little-endian float32, which is lossless in JSON."""

import base64
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

from storage.events.tokens import checked_token, is_sealed

_FLOAT32 = np.dtype("<f4")
# Nearly as fast as the fastest package, and it holds the GIL: releasing it costs a wait to reacquire it beside a busy thread.
_base64: Any = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64")).validator.validate_strings


def _is_vector(text: str) -> str:
    if is_sealed(text):
        return checked_token(text)
    if len(text) % 4 or "-" in text or "_" in text:  # pydantic accepts URL-safe and unpadded base64 too
        raise ValueError("not base64 with '+', '/' and padding")
    try:
        raw: bytes = _base64(text)
    except ValidationError as error:
        raise ValueError("not base64") from error
    if not raw or len(raw) % 4:
        raise ValueError(f"{len(raw)} bytes are not a float32 vector")
    highest = raw[3::4]  # inf and NaN have all exponent bits set, the first seven of which are in this byte
    if (0x7F in highest or 0xFF in highest) and not np.isfinite(np.frombuffer(raw, _FLOAT32)).all():
        raise ValueError("a component is not finite")
    return text


Vector = Annotated[str, AfterValidator(_is_vector)]  # base64 of little-endian float32, or sealed


def pack(vector: np.ndarray) -> Vector:
    """Encode the components as base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def unpack(vector: Vector) -> np.ndarray:
    """Decode to float32, shape ``(d,)``."""
    return np.frombuffer(_base64(vector), dtype="<f4")
