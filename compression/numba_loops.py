"""Loops that are plain Python, compiled by numba where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def has_numba() -> bool:
    """Whether numba can be imported, which takes half a second."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def compiled(loop: Callable, shared: tuple[Callable, ...] = (), **options: Any) -> Callable:
    """A loop through numba, kept on disk where there is a place for it.

    :param shared: functions that the loop calls.
    :param options: of `numba.njit`.
    """
    import numba

    for function in shared:
        _share(function)
    try:
        return numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # no writable cache folder
        return numba.njit(**options)(loop)


@cache
def _share(function: Callable) -> None:
    """Let compiled loops call a function; once, as numba keeps each registration."""
    import numba

    numba.extending.register_jitable(function)
