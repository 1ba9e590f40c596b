"""Does a graph compute what the network computes?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .errors import Untraceable
from .examples import arguments_of, batch_of, of_batch, tensors_in
from .exporting import _plain, quiet
from .network import GraphNetwork

EXAMPLES = 3  # another number than the network is traced with
_TOLERANCE = {torch.bfloat16: 0.05, torch.float16: 0.01}


def verify(net: nn.Module, network: GraphNetwork, example: Any) -> None:
    """Compare outputs at `EXAMPLES` examples; where the network cannot take so many, at its own.

    Networks on the meta device have no numbers, and are not compared.

    :raises Untraceable: the outputs differ.
    """
    args, kwargs = arguments_of(example)
    if any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
        return
    before = batch_of((args, kwargs))
    for count in (EXAMPLES, before):
        some_args, some_kwargs = of_batch((args, kwargs), before, count)
        try:
            expected = _outputs(net, some_args, some_kwargs)
        except Exception:  # the network's own, at this number of examples
            continue
        try:
            with torch.no_grad():
                found = network(*some_args, **some_kwargs)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            line = str(error).strip().partition("\n")[0]
            raise Untraceable(
                f"the graph of {type(net).__name__} fails at {count} examples: {line}"
            ) from None
        _compare(type(net).__name__, expected, list(tensors_in(found)), count)
        return


def _outputs(net: nn.Module, args: tuple, kwargs: dict) -> list[Tensor]:
    """What the network gives, its buffers left as they are."""
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with quiet(net), torch.no_grad(), torch.random.fork_rng(devices=[]):
        result = torch.func.functional_call(net, buffers, args, kwargs)
    return list(tensors_in(_plain(result)))


def _compare(name: str, expected: list[Tensor], found: list[Tensor], count: int) -> None:
    if len(expected) != len(found):
        raise Untraceable(f"the graph of {name} gives {len(found)} outputs, not {len(expected)}")
    for i, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Untraceable(
                f"the graph of {name} gives output {i} of shape {tuple(b.shape)}, {b.dtype}, and "
                f"the network {tuple(a.shape)}, {a.dtype}, at {count} examples"
            )
        scale = float(a.double().nan_to_num(0, 0, 0).abs().max()) if a.numel() else 0.0
        tolerance = _TOLERANCE.get(a.dtype, 1e-4)
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale + 1e-7, equal_nan=True):
            raise Untraceable(
                f"the graph of {name} gives another output {i} than the network at {count} "
                "examples: its forward depends on how many there are, on chance or on earlier calls"
            )
