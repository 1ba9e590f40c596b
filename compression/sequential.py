"""Rate-distortion quantization of a whole network, one layer after the other, from inputs alone.

The network runs operator by operator, twice: as it is, and with the layers so far quantized. So
each layer meets the inputs x that it will have in the file, and follows what the original computes
from the original's inputs. With t the outputs to follow and y those of the float weights W at x,

    W' = W + cov(t - y, x) A^-1,    A = cov(x, x) + damping,

is the damped least-squares weight for t (asymmetric calibration, as in GPTAQ: Li et al. 2025). It
is quantized under A, and the bias takes up the mean of what is left of t - y. Without a bias of its
own, second moments stand in for covariances. Where a layer is only added to a shortcut, t includes
the error of the shortcut.

Weights that no single product uses (shared or recurrent ones, slices of a weight) are quantized
before, under the moments of the original's inputs; those without moments under an identity matrix.
The run itself is in side_by_side.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..common.examples import Inputs, count
from ..graph import GraphNetwork, parameters_of
from ..graph.moments import InputMoments, input_moments, inputs_of
from ..graph.uses import Uses
from .archive import Quantised, storable
from .feature_maps import FeatureMaps
from .layers_in_turn import layers_of
from .rate_tensor import RateTensor
from .scores import chunks
from .sensitivity import BATCH, batch_of, sensitivities
from .side_by_side import side_by_side
from .uniform import bias, rounded

VECTOR_BITS = 12  # of scales, and of biases that are not fitted


class Calibrated:
    """A traced network, and of its calibration inputs all that no price of a bit changes.

    :param network: in eval mode, on the CPU; not changed.
    :param x: calibration inputs, as `common.examples.arguments` gives them.
    :param weights: the names of the weights to quantize.
    :param vectors: the names of biases and scales, which are rounded to `VECTOR_BITS` bits.
    :param likelihood: see `sensitivity.sensitivities`, like `axis` and `seed`.
    """

    def __init__(
        self,
        network: GraphNetwork,
        x: Inputs,
        weights: list[str],
        vectors: list[str],
        likelihood: str,
        axis: int = -1,
        seed: int = 0,
    ) -> None:
        self.network, self.weights, self.vectors = network, weights, vectors
        self.inputs = [inputs_of(network, part)[0] for part in chunks(x, batch_of(network, x))]
        self.maps, self.examples = FeatureMaps(network, x), count(x)
        self.tensors = {name: t.detach() for name, t in parameters_of(network)}
        uses = Uses(network, weights)
        self.layers = layers_of(network, uses, set(vectors))
        own = {layer.weight for layer in self.layers.values()}
        others = [name for name in weights if name not in own]
        #: Of the weights that are quantized before all layers, the moments of their inputs.
        self.moments: dict[str, InputMoments] = {}
        if others:
            self.moments = input_moments(network, chunks(x, BATCH), others).weights
        found = sensitivities(network, x, uses.nodes, likelihood, axis, seed)
        readers = {name: [n for n in uses.readers[name] if n in found] for name in weights}
        #: s of `sensitivity` by weight; the mean over the operators of a weight of several.
        self.importance = {
            name: _mean([found[n] for n in nodes]) for name, nodes in readers.items() if nodes
        }
        #: Weights that are quantized without regard to what they are multiplied by.
        self.blind = [name for name in others if name not in self.moments]

    def quantised(self, rate: float) -> dict[str, Quantised]:
        """Weights, biases and scales at a price of a bit, by name.

        :param rate: what a bit is worth in nats of KL(original || quantized) an example, by the
            estimate of `sensitivity`.
        """
        codes = round_vectors(self.tensors, self.vectors)
        codes |= under_moments(self.tensors, self.moments, self.importance, rate)
        codes |= without_inputs({name: self.tensors[name] for name in self.blind}, rate)
        return side_by_side(self, codes, rate)


def round_vectors(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Quantised]:
    """Biases and scales on `VECTOR_BITS` bits."""
    return {name: bias(tensors[name].double().numpy(), VECTOR_BITS) for name in names}


def _mean(found: list[Tensor]) -> Tensor:
    """The mean by unit; that of all units where operators have others."""
    if len({len(one) for one in found}) > 1:
        found = [one.mean().view(1) for one in found]
    return torch.stack(found).mean(0)


def under_moments(
    tensors: dict[str, Tensor],
    moments: dict[str, InputMoments],
    importance: dict[str, Tensor],
    rate: float,
) -> dict[str, Quantised]:
    """Weights under the moments of what they are multiplied by, each weight tensor by itself.

    :param importance: s of `sensitivity` by name.
    :param rate: see `Calibrated.quantised`.
    """
    codes = {}
    for name, found in moments.items():
        tensor = RateTensor(tensors[name], found.groups, found.transposed)
        tensor.put(slice(None), tensor.matrix, found.inputs, importance[name], rate)
        codes[name] = tensor.quantised()
    return codes


def without_inputs(tensors: dict[str, Tensor], rate: float) -> dict[str, Quantised]:
    """Weights under identity matrices, with a dead zone by rate-distortion.

    A tensor of zeros and one other number, a causal mask say, keeps its numbers.

    :param rate: what a bit is worth in 1/2 of the relative squared error, the mean over all
        weights of the tensors, each relative to the mean square of its tensor.
    """
    total, codes = sum(t.numel() for t in tensors.values()), {}
    for name, weight in tensors.items():
        if (step := _step_of_mask(weight)) is not None:
            codes[name] = rounded(weight.double().numpy(), step)
            continue
        tensor = RateTensor(weight)
        square = float(weight.double().square().mean()) or 1.0
        ones = torch.ones(tensor.matrix.shape[::2])
        share = torch.tensor([1 / (square * total)])
        tensor.put(slice(None), tensor.matrix, ones, share, rate)
        codes[name] = tensor.quantised()
    return codes


def _step_of_mask(weight: Tensor) -> float | None:
    """The size of the one number beside 0 that a tensor holds, if a step can have it."""
    size = float(weight.abs().max())
    if size < 2.0**-100 or float(storable(size)) != size:
        return None
    other = weight[weight != 0]
    return size if bool((other == other[0]).all()) else None
