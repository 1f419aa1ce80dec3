"""Which texts are vectors: strict base64 of finite float32 components, and nothing else."""

import base64
import binascii

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from storage.events import Vector, pack, unpack

VECTOR: TypeAdapter[str] = TypeAdapter(Vector)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_packed_vectors_round_trip_bit_by_bit(components: list[float]) -> None:
    vector = np.array(components, np.float32)
    assert unpack(VECTOR.validate_python(pack(vector))).tobytes() == vector.tobytes()


@given(st.text("AQgw/+=-_ \né", max_size=12))
def test_base64_is_validated_as_strictly_as_by_the_standard_library(text: str) -> None:
    try:
        strict = len(base64.b64decode(text, validate=True)) % 4 == 0 and len(text) % 4 == 0 and text != ""
    except (binascii.Error, ValueError):
        strict = False
    try:
        VECTOR.validate_python(text)
        taken = True
    except ValidationError as error:
        taken = "not finite" in str(error)
    assert taken == strict


@pytest.mark.parametrize("component", [np.nan, np.inf, -np.inf])
def test_a_component_that_is_not_finite_is_refused(component: float) -> None:
    with pytest.raises(ValidationError, match="not finite"):
        VECTOR.validate_python(pack(np.array([1.0, component, 2.0])))
