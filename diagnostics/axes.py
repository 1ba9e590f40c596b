"""What the axes of a draw mean: outputs, inputs and kernel positions of the layer it belongs to."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_FORWARD = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def axes_of(model: nn.Module, shapes: Mapping[str, torch.Size]) -> dict[str, tuple[str, ...]]:
    """Names of the axes of each site of a layer's weight, such as `fc.weight_out`.

    Roles are `out`, `in` and `kernel` (`kernel_0`, `kernel_1` if there are several), behind the
    weight's name: a layer's sizes are its own. Scales and gates of groups lie along one of them.

    :param model: a model of `bitsback.models`.
    :param shapes: of one draw, by site.
    :returns: by site; without sites of other modules, whose axes have no names.
    """
    found: dict[str, tuple[str, ...]] = {}
    initial: Mapping[str, Tensor] = getattr(model, "initial_weights", dict)()
    for name, weight in initial.items():
        roles = _roles(model, name, weight)
        if roles is None:
            continue
        group = 1 if weight.dim() == 2 else 0  # as models lay out scales
        for site, shape in shapes.items():
            if site != name and not site.startswith(f"{name}."):
                continue
            if shape == weight.shape:
                found[site] = roles
            elif len(shape) == 1 and shape[0] > 1 and shape[0] == weight.shape[group]:
                found[site] = (roles[group],)
    return found


def _roles(model: nn.Module, name: str, weight: Tensor) -> tuple[str, ...] | None:
    path, _, leaf = name.rpartition(".")
    try:
        layer = model.get_submodule(f"net.{path}" if path else "net")
    except AttributeError:
        return None
    if leaf != "weight" or not isinstance(layer, (*_FORWARD, *_TRANSPOSED)):
        return None
    first = ("in", "out") if isinstance(layer, _TRANSPOSED) else ("out", "in")
    kernel = [f"kernel_{axis}" for axis in range(weight.dim() - 2)]
    kernel = ["kernel"] if len(kernel) == 1 else kernel
    return tuple(f"{name}_{role}" for role in (*first, *kernel))
