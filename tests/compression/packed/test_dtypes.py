"""Bits of every element type come back from bytes; floats are those of torch."""

import numpy as np
import pytest
import torch
from bitsback.compression.packed import dtypes
from bitsback.compression.packed.dtypes import BY_NAME, KINDS, LOSSY
from hypothesis import given
from hypothesis import strategies as st

from .samples import any_bits, bits


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bits_come_back(kind):
    tensor = any_bits(kind, (1000,))
    unsigned = np.frombuffer(bits(tensor), kind.unsigned)
    octets = dtypes.to_bytes(unsigned, kind)
    assert octets.shape == (1000, kind.width) and octets.dtype == np.uint8
    assert np.array_equal(dtypes.from_bytes(octets, kind), unsigned)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_widths_and_mantissas_are_those_of_torch(kind):
    dtype = getattr(torch, kind.name)
    assert dtype.itemsize == kind.width
    if dtype.is_floating_point:
        assert torch.finfo(dtype).eps == 2.0**-kind.mantissa
    else:
        assert kind.mantissa is None


def test_numbers_of_types_never_change():
    """Files name a type by its place."""
    assert [kind.name for kind in KINDS] == [
        "float32", "bfloat16", "float16", "float64", "int64", "int32", "int16", "int8", "uint8",
        "bool", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2",
    ]  # fmt: skip


def test_the_first_byte_is_the_exponent_and_the_last_bit_the_sign():
    one = np.array([1.0, -1.0], np.float32).view(np.uint32)
    assert dtypes.to_bytes(one, BY_NAME["float32"]).tolist() == [[127, 0, 0, 0], [127, 0, 0, 1]]


@pytest.mark.parametrize("name", LOSSY)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50))
def test_floats_are_rounded_as_torch_rounds(name, values):
    floats = np.array(values, np.float32)
    expected = torch.from_numpy(floats).to(getattr(torch, name))
    found = dtypes.from_floats(floats, BY_NAME[name])
    assert found.tobytes() == bits(expected)
    assert np.array_equal(dtypes.to_floats(found, BY_NAME[name]), expected.double().numpy())
