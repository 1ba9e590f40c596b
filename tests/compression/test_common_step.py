"""The step that values have in common: exact, largest, and refused where there is none."""

import numpy as np
import pytest
from bitsback.compression.archive import Uniform, storable
from bitsback.compression.common_step import common_step


@pytest.mark.parametrize("step", [1.0, 2.0**-100, 0.0123, 3e20, 255 / 256])
def test_a_files_grid_is_found_again(step):
    """Of random codes on each side of zero; 1 is among them, so that it is the grid's own step."""
    step = float(storable(step))
    codes = np.random.RandomState(0).randint(-65536, 65537, (7, 30))
    codes[0, :2] = 0, 1
    found, of = common_step(Uniform(step).values(codes))
    assert of == step and np.array_equal(found, codes)


def test_it_is_the_largest():
    """Codes 6, -15 and 0 have the divisor 3; shifted units are on the finest unit's step."""
    codes, step = common_step(np.array([6, -15, 0]) * 0.375)
    assert codes.tolist() == [2, -5, 0] and step == 3 * 0.375
    grid = Uniform(0.375, (0, 3))
    codes, step = common_step(grid.values(np.array([[1, -3], [2, 1]])))
    assert codes.tolist() == [[1, -3], [16, 8]] and step == 0.375


def test_zeros_have_the_step_one():
    codes, step = common_step(np.zeros((2, 3), np.float32))
    assert step == 1 and not codes.any() and codes.shape == (2, 3)


@pytest.mark.parametrize(
    "values", [[1.0, 2.0**-17], [1.0, 1e-300], [0.1, 0.2000001], [65537.0, 1.0]]
)
def test_no_grid(values):
    with pytest.raises(ValueError, match="no grid"):
        common_step(np.array(values))
    assert common_step(np.array([65536.0, 1.0]))[0].tolist() == [65536, 1]


def test_values_that_are_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        common_step(np.array([1.0, np.nan]))
