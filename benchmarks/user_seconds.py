"""Seconds of the processor that a call takes, which other processes disturb the least."""

import resource
from collections.abc import Callable
from typing import TypeVar

LEAST = 0.1  # seconds that a measurement takes at least; short calls are repeated
Result = TypeVar("Result")


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """What a call returns, and the user CPU seconds that it took, in the mean."""
    count, start = 0, _seconds()
    while True:
        result = call()
        count += 1
        if (seconds := _seconds() - start) >= LEAST or count == 1000:
            return result, seconds / count


def _seconds() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime
