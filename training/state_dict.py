"""A trained network's tensors, from safetensors or a `.pt` state_dict; no code of theirs is run."""

from collections.abc import Callable
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

COUNTER = "num_batches_tracked"
# What wrappers put before a network's names: DataParallel and its relatives, and torch.compile.
PARALLEL, COMPILED = "module.", "_orig_mod."
SHOWN = 8  # names in a message

Say = Callable[[str], None]


def read_state_dict(path: str | Path, say: Say | None = None) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Safetensors, or what `torch.save` writes: a state_dict, or a dict with one state_dict in it, as
    training scripts keep beside the epoch. Prefixes of wrappers are taken off the names.

    :param say: told in a line what was done to the names.
    :raises ValueError: for a file that is neither, or is damaged; nothing in it is run.
    :raises OSError: if it cannot be read.
    """
    say = say or (lambda line: None)
    return _unwrapped(path, _read(path, say), say)


def load_weights(path: str | Path, net: nn.Module, say: Say | None = None) -> None:
    """Fill a network with the tensors of a file; see `read_state_dict`.

    The counters of BatchNorms (`num_batches_tracked`), which nothing computes with once a momentum
    is set, may be missing.

    :raises ValueError: the file is damaged, or of another network; says what differs. The network
        is then unchanged.
    """
    say = say or (lambda line: None)
    tensors, state = _read(path, say), net.state_dict()
    counters = {name: value for name, value in state.items() if name.endswith(COUNTER)}
    if state.keys() - counters.keys() - tensors.keys():  # names that fit as they are stay
        tensors = _unwrapped(path, tensors, say)
    tensors |= {name: value for name, value in counters.items() if name not in tensors}
    check_same(path, tensors, state)
    net.load_state_dict(tensors)


def check_same(path: str | Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Refuse tensors that are not exactly those of a module.

    :raises ValueError: for names, shapes or kinds of numbers that differ, NaN or infinity.
    """
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        raise ValueError(
            f"{path}: is of another network or version: lacks {_some(missing)}, "
            f"has {_some(extra)} more"
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


def _read(path: str | Path, say: Say) -> dict[str, Tensor]:
    """The tensors of a file by the names that they have there."""
    with open(path, "rb") as file:
        head = file.read(9)
    plain = Path(path).suffix == ".safetensors" or head[8:] == b"{"
    return _safetensors(path) if plain else _torch(path, say)


def _safetensors(path: str | Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from None


def _torch(path: str | Path, say: Say) -> dict[str, Tensor]:
    """A state_dict that `torch.save` wrote, or the only one in a dict of other things."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the format, the archive, or a refused class
        raise ValueError(
            f"{path}: neither safetensors nor a state_dict that torch.load reads with "
            "weights_only=True; save net.state_dict() alone, or as safetensors"
        ) from error
    if _is_state_dict(found):
        return dict(found)
    inner = {k: v for k, v in found.items() if _is_state_dict(v)} if isinstance(found, dict) else {}
    if len(inner) != 1:
        held = f"{len(inner)} state_dicts ({_some(sorted(map(str, inner)))})" if inner else "none"
        raise ValueError(f"{path}: must hold one state_dict of tensors; it holds {held}")
    ((key, state),) = inner.items()
    say(f"{path}: took the state_dict under {key!r}")
    return dict(state)


def _is_state_dict(found: object) -> bool:
    return (
        isinstance(found, dict)
        and len(found) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    )


def _unwrapped(path: str | Path, found: dict[str, Tensor], say: Say) -> dict[str, Tensor]:
    """The tensors without what wrappers put into their names."""
    if any(COMPILED in name for name in found):
        say(f"{path}: took {COMPILED!r} out of the names")
        found = {name.replace(COMPILED, ""): tensor for name, tensor in found.items()}
    if all(name.startswith(PARALLEL) for name in found):
        say(f"{path}: took {PARALLEL!r} off all names")
        found = {name.removeprefix(PARALLEL): tensor for name, tensor in found.items()}
    return found


def _some(names: list[str]) -> str:
    """The first few names as a list."""
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN:,} others" if len(names) > SHOWN else ""
    return f"{names[:SHOWN]}{more}"
