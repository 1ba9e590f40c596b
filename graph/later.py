"""Functions named before their module is loaded, so that a table of them needs no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Later:
    """A module, a function in it, or what that will return; `found` loads it.

    >>> torch = Later("torch")
    >>> found(torch.linalg.vector_norm)  # loads torch now
    <built-in function linalg_vector_norm>

    :param module: its absolute name.
    :param path: the attributes to follow from there.
    :param arguments: those of a call of what is there; None: there is no call.
    """

    def __init__(
        self, module: str, path: tuple[str, ...] = (), arguments: tuple | None = None
    ) -> None:
        self._module, self._path, self._arguments = module, path, arguments

    def __getattr__(self, name: str) -> Later:
        if name.startswith("__"):  # Python asks for some by itself
            raise AttributeError(name)
        return Later(self._module, (*self._path, name))

    def __call__(self, *arguments: Any) -> Later:
        return Later(self._module, self._path, arguments)


def found(thing: Any) -> Any:
    """What a `Later` stands for; anything else is returned as it is."""
    if not isinstance(thing, Later):
        return thing
    value = import_module(thing._module)
    for name in thing._path:
        value = getattr(value, name)
    return value if thing._arguments is None else value(*thing._arguments)
