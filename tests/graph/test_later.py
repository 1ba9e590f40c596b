"""Functions that are loaded when they are asked for."""

import math

import pytest
from bitsback.graph.later import Later, found


def test_what_is_named_is_found():
    assert found(Later("math")) is math
    assert found(Later("math").sqrt) is math.sqrt
    assert found(Later("os").path.join)("a", "b") == "a/b"
    assert found(Later("math").sqrt(9.0)) == 3.0
    assert found(7) == 7 and found(None) is None


def test_nothing_is_loaded_before():
    missing = Later("no_such_module").part
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        found(missing)
    with pytest.raises(AttributeError, match="__no__"):
        Later("math").__no__  # noqa: B018
