"""A network of the user's own: `--model FILE_OR_MODULE:FACTORY`, `--model-args`, `--weights`."""

import json
from pathlib import Path

from torch import nn

from ..training.state_dict import Say, load_weights
from .imported import called, imported


def own_network(
    model: str,
    arguments: str | None = None,
    weights: str | Path | None = None,
    say: Say | None = None,
    option: str = "--model",
) -> nn.Module:
    """A new network of the user's factory, filled with trained weights if there are any.

    Example: `own_network("nets.py:build", '{"width": 16}', "net.safetensors")`.

    :param model: `FILE.py:NAME` or `MODULE:NAME` of a function or class that returns an
        `nn.Module`; see `imported`.
    :param arguments: JSON, an object of keyword arguments or an array of positional ones.
    :param weights: see `state_dict.read_state_dict`.
    :param say: told in a line what was done to the weights' names.
    :raises ValueError: for a factory that does not import, raises, or returns no module, and for
        weights that are not the network's.
    :raises OSError: if the weights cannot be read.
    """
    factory = imported(model, option)
    net = called(factory, model, option, parsed_arguments(arguments))
    if not isinstance(net, nn.Module):
        raise ValueError(
            f"{option} {model}: returned a {type(net).__name__}; it must return an nn.Module"
        )
    if weights is not None:
        load_weights(weights, net, say)
    return net


def parsed_arguments(text: str | None) -> dict | list:
    """The value of `--model-args`.

    :raises ValueError: if it is no JSON object or array.
    """
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--model-args {text}: is no JSON ({error})") from None
    if not isinstance(found, dict | list):
        raise ValueError(
            f"--model-args {text}: must be a JSON object or array, as in '{{\"width\": 16}}'"
        )
    return found


def factory_name(model: str) -> str:
    """What a network of the user's is called in files' names and reports: its factory's name."""
    return model.rpartition(":")[2]
