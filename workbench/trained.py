"""Trained pairs and networks on disk: safetensors with a JSON description, nothing to execute.

A saved pair holds the guide's parameters and buffers, and the model's: the network's point
parameters and BatchNorm statistics, a learned tau0 or mixture. Its description is the JSON text
under `bitsback` in the file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .files import write_atomic

FORMAT = 1
# Of a header that is damaged, or nested too deeply, or of another make.
_UNREADABLE = (
    safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError
)  # fmt: skip

COUNTER = "num_batches_tracked"


def save_guide(
    path: str | Path, model: nn.Module, guide: nn.Module, about: Mapping[str, str] | None = None
) -> None:
    """Write a trained pair, atomically.

    :param about: text to keep with it: names of the method, network and data, say.
    :raises OSError: if it cannot be written; an old file is then still there.
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
    """Fill a pair, made as it was before its training, with what `save_guide` wrote.

    :returns: the text that was kept with it.
    :raises ValueError: the file is damaged, or of another model, guide or network; says what
        differs. The pair is then unchanged.
    """
    description = describe_guide(path)
    for part, module in (("model", model), ("guide", guide)):
        if description[part] != type(module).__name__:
            raise ValueError(
                f"{path}: holds a {description[part]}, not a {type(module).__name__}: make the "
                f"{part} as it was made for the training"
            )
    tensors = _read(path)
    found = {
        part: {k[len(part) + 1 :]: v for k, v in tensors.items() if k.startswith(part + ".")}
        for part in ("model", "guide")
    }
    try:
        getattr(guide, "prepare_for", lambda state: None)(found["guide"])
    except Exception as error:  # shapes of no guide of this kind
        raise ValueError(f"{path}: does not fit the guide: {error}") from None
    _check_same(path, found["model"], model.state_dict())
    _check_same(path, found["guide"], guide.state_dict())
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


def load_weights(path: str | Path, net: nn.Module) -> None:
    """Fill a network with the tensors of a safetensors file of its state_dict.

    The counters of BatchNorms (`num_batches_tracked`), which nothing computes with once a momentum
    is set, may be missing.

    :raises ValueError: the file is damaged, or of another network; says what differs.
    """
    tensors, state = _read(path), net.state_dict()
    counters = {name: value for name, value in state.items() if name.endswith(COUNTER)}
    tensors |= {name: value for name, value in counters.items() if name not in tensors}
    _check_same(path, tensors, state)
    net.load_state_dict(tensors)


def _read(path: str | Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from None


def _check_same(path: str | Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Refuse tensors that are not exactly those of a module."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        raise ValueError(
            f"{path}: is of another network or version: lacks {missing or 'none'}, "
            f"has {extra or 'none'} more"
        )
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{path}: {name!r} has shape {tuple(tensor.shape)}, "
                f"the network's has {tuple(wanted[name].shape)}"
            )
        if tensor.dtype.is_floating_point != wanted[name].dtype.is_floating_point:
            raise ValueError(
                f"{path}: {name!r} is {tensor.dtype}, the network's is {wanted[name].dtype}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: {name!r} holds NaN or infinity")


def _flat(values: list) -> list:
    return [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
