"""A run's options as options of its method's pair, and what a kept pair says of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..methods import METHODS, Method
from .names import lookup
from .networks import network
from .settings import ARMS, KEPT, Settings, positive_integers
from .trained import describe_guide, load_guide

_OF_MODEL = ("beta", "coarseness", "cost")  # defaults of the model's, for each network


def method_of(settings: Settings) -> Method:
    """The method with the model's options that the run or the network has of its own."""
    method = lookup("method", settings.method, METHODS)
    defaults = method.settings(settings.network)
    options: dict[str, Any] = {k: defaults[k] for k in _OF_MODEL if k in defaults}
    for name in ("beta", "cost", "widths", "gates", "objective", "coupling"):
        if getattr(settings, name) is not None:
            options[name] = getattr(settings, name)
    if settings.distill:
        options["teacher"] = True
    if settings.target_bops is not None:
        options["priced"] = "bops"
    if settings.freeze_weights:
        options["freeze_weights"] = True
    options |= ARMS.get(settings.arm, {})
    return replace(method, model_options={**method.model_options, **options})


def about(settings: Settings) -> dict[str, str]:
    """What a kept pair is to say of the run: names, and the options that the pair was made by."""
    found = {name: getattr(settings, name) for name in ("method", "network", "data")}
    for name in KEPT.values():
        value = getattr(settings, name)
        if value is not None:
            found[name] = text(value)
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
    for option, name in KEPT.items():
        given = getattr(settings, name)
        if given is not None and found.get(name, text(given)) != text(given):
            raise ValueError(
                f"{path}: was trained with {option} {found[name]}; leave {option} out, and it is "
                "taken from the file"
            )
    return _filled(settings, found)


def rebuild(
    path: str | Path, num_data: int, example: Tensor | None = None
) -> tuple[nn.Module, nn.Module]:
    """The model and the guide in a file of `bitsback compress --save-guide`.

    :param num_data: number of training examples.
    :param example: a few of their inputs, which method rate needs.
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


def text(value: object) -> str:
    """An option's value as `--save-guide` keeps it, and as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _filled(settings: Settings, found: dict[str, str]) -> Settings:
    """The settings with the options that a file's `about` has."""
    values: dict[str, Any] = {name: found[name] for name in KEPT.values() if name in found}
    try:
        if "widths" in values:
            values["widths"] = positive_integers("--widths", values["widths"])
        return replace(settings, **values)
    except ValueError as error:
        raise ValueError(f"{settings.load_guide}: {error}") from None
