"""A run's method with its options, and what a kept pair says of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..methods import METHODS, Method
from ..training.trained import describe_guide, load_guide
from .data import Dataset
from .names import lookup
from .networks import network
from .settings import Settings


def examples_of(settings: Settings, data: Dataset) -> int | None:
    """Training examples, by which presets are chosen; None for reference networks on their data."""
    own = settings.network is None or settings.model is not None or settings.source.is_own
    return len(data.train) if own else None


def method_of(settings: Settings, examples: int | None = None) -> Method:
    """The method with the options of the run, and what the network has of its own."""
    method = lookup("method", settings.method, METHODS)
    return method.configured(settings.options, settings.network, examples)


def about(settings: Settings) -> dict[str, str]:
    """What a kept pair is to say of the run: names, and the options that the pair was made by."""
    found = {name: getattr(settings, name) for name in ("method", "network", "data")}
    for option in METHODS[settings.method].options:
        if option.kept and option.name in settings.options:
            found[option.name] = option.text(settings.options[option.name])
    return found


def taken_over(settings: Settings) -> Settings:
    """The settings with those options that the pair in `load_guide`, if given, was made by.

    Those of a pair of another method stay as they are: `load_guide` says what is wrong.

    :raises ValueError: for an option that is given and is another than the file's, or for values in
        the file that make no sense.
    """
    if settings.load_guide is None:
        return settings
    path, found = settings.load_guide, describe_guide(settings.load_guide)["about"]
    if found.get("method") != settings.method:
        return settings
    for option in METHODS[settings.method].options:
        given = settings.options.get(option.name)
        if option.kept and given is not None:
            kept = found.get(option.name, option.text(given))
            if kept != option.text(given):
                raise ValueError(
                    f"{path}: was trained with {option.flag} {kept}; leave {option.flag} out, and "
                    "it is taken from the file"
                )
    return _filled(settings, found)


def rebuild(
    path: str | Path, num_data: int, example: Tensor | None = None
) -> tuple[nn.Module, nn.Module]:
    """The model and the guide in a file of `bitsback compress --save-guide`.

    :param num_data: number of training examples.
    :param example: a few of their inputs, for methods that trace the network.
    :raises ValueError: the file does not name a method and a network of the zoo, or is damaged.
    """
    found = describe_guide(path)["about"]
    missing = [key for key in ("method", "network", "data") if key not in found]
    if missing:
        raise ValueError(
            f"{path}: does not say its {missing[0]}; only `bitsback compress --save-guide` writes "
            "that, so make the pair yourself and use load_guide"
        )
    lookup("method", found["method"], METHODS)
    names = {key: found[key] for key in ("method", "network", "data")}
    method = method_of(_filled(Settings(**names, load_guide=Path(path)), found))
    model, guide = method.pair(network(found["network"]), num_data, example=example)
    load_guide(path, model, guide)
    return model, guide


def _filled(settings: Settings, found: dict[str, str]) -> Settings:
    """The settings with the options that a file's `about` has."""
    values: dict[str, Any] = dict(settings.options)
    try:
        for option in METHODS[settings.method].options:
            if option.kept and option.name in found:
                values[option.name] = option.parsed(found[option.name])
        filled = replace(settings, options=values)
        METHODS[settings.method].check_given(values)
        return filled
    except ValueError as error:
        raise ValueError(f"{settings.load_guide}: {error}") from None
