"""A function or class of the user's own, named as FILE.py:NAME or PACKAGE.MODULE:NAME.

Importing runs the user's code, which is what the user asks for by naming it. No file that bitsback
reads can name code.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def imported(name: str, option: str) -> Any:
    """What `FILE.py:NAME` or `PACKAGE.MODULE:NAME` names.

    A module is searched for as Python does, then in the working directory. What a file imports is
    searched for in the file's folder as well.

    :param option: the command-line option that gave the name, for the message.
    :raises ValueError: for a name of another form, code that does not import, or a name that the
        module does not have.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ValueError(
            f"{option} {name}: must be FILE.py:NAME or MODULE:NAME, as in nets.py:build"
        )
    module = _module(place, option)
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if _offered(module, key, value)]
        raise ValueError(
            f"{option} {name}: {place} has no {attribute!r}; it has {', '.join(known) or 'none'}"
        )
    return getattr(module, attribute)


def called(function: Any, name: str, option: str, arguments: dict | list | None = None) -> Any:
    """What a user's function returns.

    :param arguments: keyword arguments (dict) or positional ones (list).
    :raises ValueError: for what cannot be called, and for whatever it raises.
    """
    if not callable(function):
        raise ValueError(
            f"{option} {name}: is a {type(function).__name__}; name a function or a class"
        )
    arguments = arguments or {}
    try:
        return function(**arguments) if isinstance(arguments, dict) else function(*arguments)
    except Exception as error:  # of the user's code: anything
        raise ValueError(f"{option} {name}: raised {_said(error)}") from error


def _module(place: str, option: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            return _of_file(Path(place), option)
        _search(Path.cwd())
        return importlib.import_module(place)
    except ValueError:
        raise
    except Exception as error:  # of the user's code: anything
        raise ValueError(f"{option} {place}: does not import ({_said(error)})") from error


def _of_file(path: Path, option: str) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{option} {path}: there is no such file")
    path = path.resolve()
    name = f"_bitsback_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    _search(path.parent)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except ValueError as error:
        raise ValueError(f"{option} {path}: does not import ({_said(error)})") from error
    return module


def _search(folder: Path) -> None:
    """Look for modules in a folder too, last, so that it hides none."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _offered(module: ModuleType, key: str, value: object) -> bool:
    """Whether a module defines a function or class of its own by this name."""
    own = getattr(value, "__module__", None) == module.__name__
    return own and callable(value) and not key.startswith("_")


def _said(error: Exception) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"
