"""Outputs that are probabilities where logits are meant."""

import re
from typing import Any

import torch
from torch import Tensor

_HEAD = re.compile(r"^(Log)?(Softmax|Sigmoid)Backward")
# Operators that hand numbers on unchanged, by the names of their gradients.
_MOVES = re.compile(
    r"^(_?Unsafe)?(View|Reshape\w*|Squeeze|Unsqueeze|Transpose|Permute|Clone|Slice|Select|Expand|"
    r"Alias|ToCopy|T|Unbind|Movedim)Backward"
)


def check_output(output: Any, likelihood: str) -> None:
    """Refuse outputs that a likelihood by name cannot read as logits or means.

    :param output: of the network, made with gradients on and weights that require them, so that
        the operator that made it is known.
    :raises ValueError: for anything but a tensor, and for probabilities where logits are meant.
    """
    if not isinstance(output, Tensor):
        raise ValueError(
            f"the network gives a {type(output).__name__}, but likelihood {likelihood!r} reads one "
            "tensor: give a function of the output, say "
            "likelihood=lambda output: Categorical(logits=output[0])"
        )
    if likelihood == "normal":
        return
    head, found = _head_of(output, likelihood), ""
    if head is not None:
        found = f"the network ends in {head}"
    elif likelihood == "categorical" and _sums_to_one(output.detach()):
        found = "the network's outputs are probabilities that sum to 1, as those of a Softmax"
    if found:
        raise ValueError(
            f"{found}, but likelihood {likelihood!r} takes logits: leave that last operation out "
            "of the network (its weights stay the same)"
        )


def _head_of(output: Tensor, likelihood: str) -> str | None:
    node = output.grad_fn
    while node is not None and _MOVES.match(type(node).__name__) and node.next_functions:
        node = node.next_functions[0][0]
    found = _HEAD.match(type(node).__name__)
    if found and not (likelihood == "categorical" and found[0].startswith("LogSoftmax")):
        return f"{found[1] or ''}{found[2]}"  # normalized log probabilities are logits as well
    return None


def _sums_to_one(output: Tensor) -> bool:
    """Whether all rows are probabilities of at least two classes."""
    if output.dim() < 2 or output.shape[-1] < 2 or not output.numel():
        return False
    rows = output.float()
    sums = (rows.sum(-1) - 1).abs().max()
    return bool(torch.isfinite(sums) and sums < 1e-4 and rows.min() >= 0 and rows.max() <= 1)
