"""A compressed file as another format: ONNX, a program of torch.export, or plain safetensors."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ..compression.layer_graph import graph_of
from .files import write_atomic


def to_torch(net: nn.Module, out: Path, shape: Sequence[int] | None) -> dict[str, Any]:
    """Write a program that `torch.export.load(file).module()` loads, for batches of any size.

    :param shape: of one input; None: what the file says, or what the first layer takes.
    :returns: what the command's JSON says of it.
    :raises ValueError: for a network that needs its own class, or a shape that cannot be told.
    """
    graph = graph_of(net, None if shape is None else tuple(shape)).eval()
    examples = tuple(
        torch.zeros((2, *kind.shape[1:]), dtype=getattr(torch, kind.dtype))
        for kind in graph.graph.inputs
    )
    batch = torch.export.Dim("batch", min=1)
    free = tuple({0: batch} for _ in examples)
    program = torch.export.export(graph, examples, dynamic_shapes={"args": free})
    file = io.BytesIO()
    torch.export.save(program, file)
    write_atomic(out, file.getvalue())
    return {"parameters": sum(p.numel() for p in graph.parameters())}


def to_safetensors(net: nn.Module, out: Path) -> dict[str, Any]:
    """Write the decoded tensors by their names in the state_dict; units that are gone are gone.

    :returns: what the command's JSON says of it.
    """
    state = {name: value.contiguous().clone() for name, value in net.state_dict().items()}
    write_atomic(out, save(state))
    return {"parameters": sum(p.numel() for p in net.parameters())}
