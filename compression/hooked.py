"""Quantization under real inputs of a network that has no graph, layer by layer by its modules.

Where a network's own code decides what runs, hooks see what its layers are given. Each weight is
quantized under the moments of the inputs that its layer has in the original (`graph.moments`), with
the output Fisher information of the layer (`sensitivity`). Errors of the layers before are not
made up for, and biases stay: only the graph tells which numbers those would be.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, count, passed
from ..common.modes import gradients
from ..graph import Untraceable, trace
from ..graph.examples import tensors_in
from ..graph.moments import InputMoments, input_moments
from .archive import Quantised
from .scores import chunks
from .sensitivity import BATCH, by_unit, drawn, floored
from .sequential import round_vectors, under_moments, without_inputs

LAYERS = (
    nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d,
    nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Embedding, nn.LSTM, nn.GRU, nn.RNN,
)  # fmt: skip


class Hooked:
    """A network without a graph, and of its calibration inputs all that no price changes.

    The parameters are those of `sequential.Calibrated`; it quantizes as that does.
    """

    def __init__(
        self,
        net: nn.Module,
        x: Inputs,
        weights: list[str],
        vectors: list[str],
        likelihood: str,
        axis: int = -1,
        seed: int = 0,
    ) -> None:
        state = net.state_dict(keep_vars=True)
        self.vectors = vectors
        self.tensors = {name: state[name].detach() for name in [*weights, *vectors]}
        self._names = {id(state[name]): name for name in weights}
        self._layers = [m for m in net.modules() if isinstance(m, LAYERS) and self._own(m)]
        self._graphs: dict[nn.Module, Any] = {}
        self._sums: dict[str, InputMoments | None] = {}
        self._squares: dict[str, list[Tensor]] = {}
        try:
            with warnings.catch_warnings():
                # A network that looks at numbers of its own does so with gradients on here.
                warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
                self._run(net, x, likelihood, axis, torch.Generator().manual_seed(seed))
        except RuntimeError:  # it takes its own tensors out of torch, say
            self._sums, self._squares = {}, {}
        #: Of the weights of layers that were called, the moments of their inputs.
        self.moments = {name: m for name, m in self._sums.items() if m is not None}
        self.importance = floored(
            {name: sum(found) / count(x) for name, found in self._squares.items()}
        )
        self.blind = [name for name in weights if name not in self.moments]

    def quantised(self, rate: float) -> dict[str, Quantised]:
        """Weights, biases and scales at a price of a bit, by name; see `Calibrated.quantised`."""
        codes = round_vectors(self.tensors, self.vectors)
        codes |= under_moments(self.tensors, self.moments, self.importance, rate)
        return codes | without_inputs({name: self.tensors[name] for name in self.blind}, rate)

    def _own(self, layer: nn.Module) -> dict[str, str]:
        """The weights of a layer that are to be quantized: its name for each, and the network's."""
        parameters = layer.named_parameters(recurse=False)
        return {own: self._names[id(p)] for own, p in parameters if id(p) in self._names}

    @gradients()
    def _run(
        self, net: nn.Module, x: Inputs, likelihood: str, axis: int, generator: torch.Generator
    ) -> None:
        for part in chunks(x, BATCH):
            calls: list[tuple[nn.Module, tuple, Tensor]] = []
            with self._seen(calls):
                result = passed(net, part)
            results = [r for r in tensors_in(result) if r.requires_grad]
            slopes = [drawn(r, likelihood, axis, generator) for r in results]
            wanted = [output for *_, output in calls]
            found = torch.autograd.grad(results, wanted, slopes, allow_unused=True)
            for (layer, given, _), slope in zip(calls, found, strict=True):
                self._add(layer, given, count(x))
                slope = torch.zeros(1, 1) if slope is None else slope
                square = count(part) * by_unit(slope, _unit_axis(layer))
                for name in self._own(layer).values():
                    self._squares.setdefault(name, []).append(square)

    @contextmanager
    def _seen(self, calls: list[tuple[nn.Module, tuple, Tensor]]) -> Iterator[None]:
        """While it lasts, the inputs and the (first) output of each call of a layer are noted."""

        def after(layer: nn.Module, given: tuple, output: Any) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            if not given or not all(isinstance(t, Tensor) for t in (given[0], first)):
                return None  # packed sequences, or inputs by name: the weights are `blind`
            first = first if first.requires_grad else first.requires_grad_()
            given = tuple(g.detach() if isinstance(g, Tensor) else g for g in given)
            calls.append((layer, given, first))
            moved = first.clone()  # the network may change it in place
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        hooks = [layer.register_forward_hook(after) for layer in self._layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _add(self, layer: nn.Module, given: tuple, examples: int) -> None:
        """Add the moments of one call of a layer."""
        found: dict[str, InputMoments] = {}
        try:
            if layer not in self._graphs:
                self._graphs[layer] = trace(layer, given, fold=False)
            found = input_moments(self._graphs[layer], [given]).weights
        except (Untraceable, ValueError):
            pass  # its weights are rounded by themselves, and the report names them
        for own, name in self._own(layer).items():
            share = len(given[0]) / examples
            self._sums[name] = _joined(self._sums.get(name, 0), found.get(own), share)


def _unit_axis(layer: nn.Module) -> int | None:
    """The axis of a layer's output that holds the units of its weight."""
    if isinstance(layer, nn.Linear | nn.Bilinear):
        return -1
    return 1 if isinstance(layer, nn.modules.conv._ConvNd) else None


def _joined(before: Any, new: InputMoments | None, share: float) -> InputMoments | None:
    """The sum of moments; None where there are none or they are of different matrices."""
    if before is None or new is None:
        return None
    scaled = InputMoments(new.inputs * share, new.transposed)
    if before == 0:
        return scaled
    if before.transposed != new.transposed or before.inputs.shape != new.inputs.shape:
        return None
    return InputMoments(before.inputs + scaled.inputs, new.transposed)
