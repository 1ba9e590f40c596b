"""What a file may ask for, at its limits and one beyond."""

import pytest
from bitsback.compression import limits
from bitsback.compression.limits import (
    DECISIONS_PER_BYTE,
    FREE_DECISIONS,
    FREE_WEIGHTS,
    MAX_BYTES,
    MAX_EMPTY,
    MAX_GROWTH,
    MAX_KERNEL,
    MAX_NAME,
    MAX_OUTPUTS,
    MAX_PADDING,
    MAX_SYMBOLS_PER_BYTE,
    MAX_WEIGHTS_PER_BYTE,
    WEIGHTS_PER_BYTE,
)  # fmt: skip


def test_decisions_of_small_and_large_files():
    assert limits.decision_budget(10) == 10 * MAX_SYMBOLS_PER_BYTE
    assert limits.decision_budget(1 << 20) == FREE_DECISIONS + (DECISIONS_PER_BYTE << 20)
    limits.check_decisions(limits.decision_budget(500), 500)
    with pytest.raises(ValueError, match="too empty for its size: remove its dead units"):
        limits.check_decisions(limits.decision_budget(500) + 1, 500)


def test_weights_of_the_fast_profile():
    assert limits.weight_budget(10) == 10 * MAX_WEIGHTS_PER_BYTE
    assert limits.weight_budget(1 << 20) == FREE_WEIGHTS + (WEIGHTS_PER_BYTE << 20)
    limits.check_weights(limits.weight_budget(500), 500)
    with pytest.raises(ValueError, match="too empty for its size: remove its dead units"):
        limits.check_weights(limits.weight_budget(500) + 1, 500)


def test_names():
    limits.check_name("é" * (MAX_NAME // 2))
    for name in ("", "é" * (MAX_NAME // 2) + "x"):
        with pytest.raises(ValueError, match="is empty or takes over 512 bytes"):
            limits.check_name(name)


def test_shapes():
    for shape in ((), (1,) * 8, (0,), (0, MAX_EMPTY), (1024, 0, 1024), (1 << 30, 1 << 30)):
        limits.check_shape("w", shape)
    with pytest.raises(ValueError, match="'w' has 9 axes, more than 8"):
        limits.check_shape("w", (1,) * 9)
    for shape in ((0, MAX_EMPTY + 1), (1025, 0, 1024)):
        with pytest.raises(ValueError, match="'w' is empty, but its other axes"):
            limits.check_shape("w", shape)


def test_totals():
    limits.check_total([MAX_BYTES // 2] * 2)
    with pytest.raises(ValueError, match="would take 2147483649 bytes"):
        limits.check_total([MAX_BYTES, 1])


@pytest.mark.parametrize("dims", [1, 2])
def test_windows(dims):
    most = MAX_KERNEL[dims]
    limits.check_kernel(dims, (most, 2)[:dims], (1, most // 2)[:dims])
    limits.check_stride(dims, (1, most)[-dims:])
    limits.check_padding(dims, (0, MAX_PADDING[dims])[-dims:])
    limits.check_growth(dims, MAX_GROWTH[dims])
    with pytest.raises(ValueError, match=f"every 2 reaches over {most}"):
        limits.check_kernel(dims, (1, most // 2 + 1)[-dims:], (1, 2)[-dims:])
    with pytest.raises(ValueError, match=f"a stride of {most + 1} is over"):
        limits.check_stride(dims, (1, most + 1)[-dims:])
    with pytest.raises(ValueError, match=f"a padding of {MAX_PADDING[dims] + 1} is over"):
        limits.check_padding(dims, (0, MAX_PADDING[dims] + 1)[-dims:])
    with pytest.raises(ValueError, match="paddings make an axis longer"):
        limits.check_growth(dims, MAX_GROWTH[dims] + 1)


def test_outputs():
    limits.check_outputs((MAX_OUTPUTS,))
    limits.check_outputs((64, 64))
    with pytest.raises(ValueError, match="outputs of 64x65 are over 4096"):
        limits.check_outputs((64, 65))
