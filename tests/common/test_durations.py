"""Durations as people read them."""

import pytest
from bitsback.common.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (83.4, "1:23"), (3_725, "1:02:05")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
