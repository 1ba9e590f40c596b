"""Trained pairs on disk: safetensors with a JSON description, nothing to execute.

A saved pair holds the guide's parameters and buffers, and the model's: the network's point
parameters and BatchNorm statistics, a learned tau0 or mixture. Its description is the JSON text
under `bitsback` in the file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
from safetensors.torch import save
from torch import Tensor, nn

from ..compression.atomic import write_atomic
from .state_dict import check_same, read_state_dict

FORMAT = 1
# Of a header that is damaged, or nested too deeply, or of another make.
_UNREADABLE = (
    safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError
)  # fmt: skip


def save_guide(
    path: str | Path, model: nn.Module, guide: nn.Module, about: Mapping[str, str] | None = None
) -> None:
    """Write a trained model and its guide to one safetensors file, whole or not at all.

    :param path: of the file.
    :param model: the model that was trained, with its network.
    :param guide: its guide.
    :param about: text to keep with it: names of the method, network and data, say.
    :raises OSError: if it cannot be written; an old file is then still there.

    >>> bitsback.save_guide("pair.safetensors", model, guide)
    """
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous().clone()
        for part, module in (("model", model), ("guide", guide))
        for name, tensor in _tensors(path, module).items()
    }
    description = {
        "format": FORMAT,
        "model": type(model).__name__,
        "guide": type(guide).__name__,
        "about": dict(about or {}),
    }
    write_atomic(Path(path), save(tensors, {"bitsback": json.dumps(description, sort_keys=True)}))


def _tensors(path: str | Path, module: nn.Module) -> dict[str, Tensor]:
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{path}: {name!r} is extra state of a module (get_extra_state), and no tensor: a "
                "pair with it cannot be saved"
            )
    return state


def load_guide(path: str | Path, model: nn.Module, guide: nn.Module) -> dict[str, str]:
    """Fill a model and its guide, made as before their training, with what `save_guide` wrote.

    :param path: of the file.
    :param model: a model like the one that was saved, with a network of the same shapes.
    :param guide: a guide like the one that was saved.
    :returns: the text that was kept with it.
    :raises ValueError: the file is damaged, or of another model, guide or network; says what
        differs. The pair is then unchanged.

    >>> model = bitsback.models.LogUniform(net, num_data=len(x))
    >>> guide = bitsback.guides.MeanFieldNormal(model)
    >>> bitsback.load_guide("pair.safetensors", model, guide)
    """
    description = describe_guide(path)
    for part, module in (("model", model), ("guide", guide)):
        if description[part] != type(module).__name__:
            raise ValueError(
                f"{path}: holds a {description[part]}, not a {type(module).__name__}: make the "
                f"{part} as it was made for the training"
            )
    tensors = read_state_dict(path)
    found = {
        part: {k[len(part) + 1 :]: v for k, v in tensors.items() if k.startswith(part + ".")}
        for part in ("model", "guide")
    }
    try:
        getattr(guide, "prepare_for", lambda state: None)(found["guide"])
    except Exception as error:  # shapes of no guide of this kind
        raise ValueError(f"{path}: does not fit the guide: {error}") from None
    check_same(path, found["model"], model.state_dict())
    check_same(path, found["guide"], guide.state_dict())
    model.load_state_dict(found["model"])
    guide.load_state_dict(found["guide"])
    return description["about"]


def describe_guide(path: str | Path) -> dict:
    """What a saved pair is: `model` and `guide` (class names), and `about`.

    :raises ValueError: the file is damaged or no saved pair.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["bitsback"])
        if description["format"] != FORMAT:
            raise ValueError
        texts = [description["model"], description["guide"], *description["about"].items()]
    except _UNREADABLE:
        raise ValueError(f"{path}: not a trained pair that this bitsback can read") from None
    if not all(isinstance(text, str) for text in _flat(texts)):
        raise ValueError(f"{path}: not a trained pair that this bitsback can read")
    return description


def _flat(values: list) -> list:
    return [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
