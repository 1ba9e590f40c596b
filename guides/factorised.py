"""Weight matrices as products of two thin ones: low rank, and random projections.

A weight is taken as the matrix of its first axis by all others, W = left @ right. Compression
replaces such a layer by two (see `compression.rewrites`).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..posterior import Factorisation, Grid, Posterior, WeightPosterior
from .base import NetworkGuide
from .mean_field import PointMass

SHARE, LEAST_RANK = 0.9, 16  # of random projections
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class _Factorised(PointMass):
    """Points left @ right for layers where that has fewer numbers; plain points for the others.

    Full stay also: weights that are shared or belong to no Linear or Conv layer, and grouped
    convolutions, which are no single matrix.
    """

    _right_is_trained = True

    def __init__(self, model: nn.Module):
        NetworkGuide.__init__(self, model)  # not PointMass's, which has a point for every weight
        net, initial = model.trained(), model.initial_weights()
        pairs = {}
        for name, weight in initial.items():
            if _is_matrix(net, name):
                rank = self._rank(name, weight.flatten(1))
                outputs, inputs = weight.flatten(1).shape
                if rank * (outputs + inputs) < outputs * inputs:
                    pairs[name] = self._factors(weight.flatten(1), rank)
        self._shapes = {name: initial[name].shape for name in pairs}
        self._add("loc", {name: w for name, w in initial.items() if name not in pairs})
        self._add("left", {name: pair[0] for name, pair in pairs.items()})
        self._add("right", {name: pair[1] for name, pair in pairs.items()}, self._right_is_trained)

    def _rank(self, name: str, matrix: Tensor) -> int:
        raise NotImplementedError

    def _factors(self, matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def prepare_for(self, state: dict[str, Tensor]) -> None:
        """Take over the ranks of a state_dict, and which layers it factorises."""
        shapes = {name: self.point(name).shape for name in self._names}
        like = next(iter(state.values()), torch.zeros(()))
        parts = {
            kind: {
                k.removeprefix(f"{kind}."): v for k, v in state.items() if k.startswith(f"{kind}.")
            }
            for kind in ("loc", "left", "right")
        }
        if {*parts["loc"], *parts["left"]} != set(self._names):
            return  # of another network, as loading it will say
        self._shapes = {name: shapes[name] for name in parts["left"]}
        for kind, values in parts.items():
            empty = {name: torch.zeros_like(v, device=like.device) for name, v in values.items()}
            self._add(kind, empty, kind != "right" or self._right_is_trained)

    def _start_at(self, posterior: Posterior) -> None:
        """Refused: ranks were chosen for the network that the guide was made with."""
        NetworkGuide._start_at(self, posterior)

    def point(self, name: str) -> Tensor:
        if name not in self._shapes:
            return self._get("loc", name)
        return (self._get("left", name) @ self._get("right", name)).reshape(self._shapes[name])

    def _grid(self, right: Tensor) -> Grid | None:
        """The values that a factor keeps to."""
        return None

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The products, stddev 0, and the factors as rewrites."""
        weights = {
            name: WeightPosterior(point.clone(), torch.zeros_like(point), torch.ones(()))
            for name, point in self.median().items()
        }
        rewrites = {}
        for name in self._shapes:
            left, right = (self._get(kind, name).detach().clone() for kind in ("left", "right"))
            rewrites[name] = Factorisation(left, right, self._grid(right))
        return Posterior(weights, rewrites=rewrites)


class LowRank(_Factorised):
    """W = left @ right, both trained, from the singular values of the network's weight.

    Source: Denton et al. 2014, Exploiting linear structure within convolutional networks; the
    truncated decomposition is the nearest matrix of its rank (Eckart and Young 1936).

    :param model: a model of `bitsback.models`.
    :param energy: each layer gets the smallest rank that holds this share of the sum of its
        squared singular values, within (0, 1].
    :param ranks: ranks by weight name, before those of `energy`.
    :raises ValueError: for a share out of range, a rank below 1, or an unknown name.
    """

    def __init__(
        self, model: nn.Module, energy: float = 0.8, ranks: Mapping[str, int] | None = None
    ):
        if not 0 < energy <= 1:
            raise ValueError(f"energy, a share of the squares, must be within (0, 1]; got {energy}")
        self.energy, self._ranks = energy, _checked(ranks, model)
        super().__init__(model)

    def _rank(self, name: str, matrix: Tensor) -> int:
        if name in self._ranks:
            return self._ranks[name]
        held = torch.linalg.svdvals(matrix.double()).square().cumsum(0)
        return 1 + int((held < self.energy * held[-1]).sum())

    def _factors(self, matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
        root = s[:rank].sqrt()
        return (u[:, :rank] * root).to(matrix), (root[:, None] * v[:rank]).to(matrix)


class RandomProjection(_Factorised):
    """W = left @ right, right of random signs over sqrt(rank): fixed, one bit an entry in a file.

    left starts at the least-squares fit to the network's weight. Signs: Achlioptas 2003,
    Database-friendly random projections.

    :param model: a model of `bitsback.models`.
    :param rank: of each layer; one whose matrix that would not shrink stays full. None (default):
        in each layer the largest rank at which the factors hold `SHARE` of the matrix's numbers at
        most; a layer for which that is below `LEAST_RANK`, such as the outputs', stays full.
    :param seed: of the signs.
    :raises ValueError: for a rank below 1.
    """

    _right_is_trained = False

    def __init__(self, model: nn.Module, rank: int | None = None, seed: int = 0):
        if rank is not None and rank < 1:
            raise ValueError(f"rank must be at least 1; got {rank}")
        self.rank, self.seed = rank, seed
        self._generator = torch.Generator().manual_seed(seed)
        super().__init__(model)
        del self._generator

    def _rank(self, name: str, matrix: Tensor) -> int:
        if self.rank is not None:
            return self.rank
        rank = int(SHARE * matrix.numel() / sum(matrix.shape))
        return rank if rank >= LEAST_RANK else matrix.numel()

    def _factors(self, matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        shape = (rank, matrix.shape[1])
        signs = 2.0 * torch.randint(2, shape, generator=self._generator) - 1
        right = (signs / rank**0.5).to(matrix)
        left = torch.linalg.lstsq(right.double().T, matrix.double().T).solution.T
        return left.to(matrix).contiguous(), right

    def _grid(self, right: Tensor) -> Grid:
        value = right.abs().max()
        return Grid(codebook=torch.stack([-value, value]), codes=(right > 0).long())


def _checked(ranks: Mapping[str, int] | None, model: nn.Module) -> dict[str, int]:
    for name, rank in (ranks or {}).items():
        if name not in model.weight_names:
            known = ", ".join(model.weight_names)
            raise ValueError(f"ranks: {name!r} is no weight with a prior; they are: {known}")
        if rank < 1:
            raise ValueError(f"the rank of {name!r} must be at least 1; got {rank}")
    return dict(ranks or {})


def _is_matrix(net: nn.Module, name: str) -> bool:
    """Whether a parameter is the weight of one ungrouped Linear or Conv layer and nothing else."""
    path, _, leaf = name.rpartition(".")
    owner = net.get_submodule(path)
    weight = net.get_parameter(name)
    uses = sum(p is weight for _, p in net.named_parameters(remove_duplicate=False))
    plain = type(owner) in _LAYERS and leaf == "weight" and getattr(owner, "groups", 1) == 1
    return plain and uses == 1
