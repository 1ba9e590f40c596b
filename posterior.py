"""What compression may know of a guide: the moments and scores of the approximate posterior.

A guide (or an adapter for any other inference result) makes a `Posterior`; everything in
`bitsback.compression` reads only this, never Pyro. All tensors are detached; no field holds a
random variable. Scores are in nats, standard deviations in units of the weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Units of a weight tensor that live or die together, because they share a scale or a gate.

    :param axis: the axis of the weight that indexes the units (0 output, 1 input).
    :param score: of each unit, shape `(weight.shape[axis],)`; larger is more prunable. Log
        effective dropout rate, or whatever else the method prunes units by (its page says what).
    """

    axis: int
    score: Tensor


@dataclass(frozen=True)
class Grid:
    """A quantiser that the method has learned: a shared codebook, or a step and bits per unit.

    :param codebook: values that weights may take, shape `(K,)`, ascending; or None.
    :param codes: which value of the codebook each weight takes, int64, the weight's shape; None:
        the nearest one.
    :param step: spacing of a uniform grid through zero, scalar or one per output unit; or None.
        A scalar beside a codebook says that its values are multiples of it, whose integers the
        file is to hold as they are.
    :param bits: bits of each output unit, shape `(units,)`; or None.
    """

    codebook: Tensor | None = None
    codes: Tensor | None = None
    step: Tensor | None = None
    bits: Tensor | None = None


@dataclass(frozen=True)
class Factorisation:
    """A layer's weight, as a matrix of its first axis by all others, as a product `left @ right`.

    :param left: shape `(outputs, rank)`.
    :param right: shape `(rank, inputs)`, kernel positions included.
    :param grid: the values that `right` keeps to, codes of its shape, if the method has fixed them.
    """

    left: Tensor
    right: Tensor
    grid: Grid | None = None


@dataclass(frozen=True)
class Curvature:
    """The curvature of the loss in one weight, as a Kronecker product of two factors.

    The weight is a matrix W of shape (groups, units, columns): `graph.as_matrix(weight, groups,
    transposed)`. A change D of it raises the loss of an example by about

        sum over groups of trace(G D A D^T) / 2   [nats],

    where A is that group's `inputs` and G its `outputs`: the Hessian is A (x) G (Martens and
    Grosse 2015, K-FAC). Of N examples it is N times that.

    :param inputs: A = mean over examples of (sum over positions of x x^T), x the vectors that the
        weight multiplies, shape (groups, columns, columns), or its diagonal (groups, columns).
    :param outputs: G = mean over examples and positions of E_y g g^T, g the gradient of
        log p(y | x, w) [nats] in the weight's output vector, y drawn from the network's own
        predictions; shape (groups, units, units), or its diagonal (groups, units). None: unknown;
        with the identity in its place the loss is half the squared change of the layer's outputs.
    :param transposed: whether the weight's axis 1 holds the units (transposed convolutions,
        embeddings, `x @ weight`); else axis 0 does.
    """

    inputs: Tensor
    outputs: Tensor | None = None
    transposed: bool = False

    @property
    def groups(self) -> int:
        """Groups of the weight's matrix: 1 but for grouped convolutions and sliced weights."""
        return self.inputs.shape[0]


@dataclass(frozen=True)
class WeightPosterior:
    """The approximate posterior of one weight tensor.

    :param loc: E_q[w], the weight's shape.
    :param stddev: sqrt(Var_q[w]), the weight's shape: the marginal, scales integrated out;
        0 for Delta guides.
    :param inclusion: q(w != 0) in [0, 1], broadcastable to the weight; 1 where there is no gate.
    :param log_alpha: log effective dropout rate log(Var_q[w] / E_q[w]^2) that the method prunes
        by, the weight's shape; None where the method has none (Delta).
    :param groups: the axes whose units share a scale or a gate, with each unit's score.
    :param grid: the quantiser that the method has learned, if any.
    :param curvature: the curvature of the loss, for quantizers that take correlations of weights
        into account; None: the guide knows none.
    """

    loc: Tensor
    stddev: Tensor
    inclusion: Tensor
    log_alpha: Tensor | None = None
    groups: tuple[Group, ...] = ()
    grid: Grid | None = None
    curvature: Curvature | None = None


@dataclass(frozen=True)
class Posterior:
    """The approximate posterior of a network's weights, keyed by state_dict name.

    :param weights: one entry for each weight tensor that has a prior.
    :param activations: learned activation quantisers, by module name.
    :param rewrites: layers that the method replaces, by state_dict name.
    """

    weights: Mapping[str, WeightPosterior]
    activations: Mapping[str, Grid] = field(default_factory=dict)
    rewrites: Mapping[str, Factorisation] = field(default_factory=dict)

    def cpu(self) -> "Posterior":
        """The same with all tensors detached and on the CPU, where compression works."""
        return _on_cpu(self)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_on_cpu(part) for part in value)
    if is_dataclass(value):
        return type(value)(**{f.name: _on_cpu(getattr(value, f.name)) for f in fields(value)})
    return value
