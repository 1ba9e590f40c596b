"""The scale tau0 of a prior, chosen by a bound on the log marginal likelihood.

A grid over log tau0: at each value a pair is trained, and its bound is that value's. A maximum of
bounds is the evidence's only as far as their gap to the evidence does not depend on tau0.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .draws import draw
from .engines import each
from .evidence import Evidence, elbo, importance_bound
from .traces import refuse_improper

#: What Louizos et al. 2017 fix tau0 at.
PUBLISHED = 1e-5
#: The default grid: denser where weights have their size.
VALUES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)

Pair = tuple[nn.Module, Any]


@dataclass(frozen=True)
class Tau0:
    """What one value of tau0 comes to.

    :param elbo: nats per datum; `elbo_stderr` its Monte-Carlo standard error.
    :param parts: what the larger bound is the mean of, one number a draw or group of draws.
    :param k: draws in each importance-weighted bound, or None where there is none.
    :param importance: that bound, nats per datum; `importance_stderr` its standard error.
    :param figures: what `measure` found.
    """

    tau0: float
    elbo: float
    elbo_stderr: float
    parts: list[float]
    k: int | None = None
    importance: float | None = None
    importance_stderr: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def bound(self) -> float:
        """The tighter of the two bounds, nats per datum."""
        return self.elbo if self.importance is None else self.importance

    def above(self, other: "Tau0") -> tuple[float, float]:
        """How much larger this bound is than that of another row of the same sweep, and its error.

        Nats per datum. Both were drawn with the same noise: the standard error is that of the
        paired differences, below those of the two bounds where the pairs are alike.
        """
        gap = torch.tensor(self.parts, dtype=torch.float64)
        gap = gap - torch.tensor(other.parts, dtype=torch.float64)
        return gap.mean().item(), (gap.std() / math.sqrt(len(gap))).item()


def best_tau0(rows: Iterable[Tau0]) -> Tau0:
    """The evidence's choice: the row of the largest bound."""
    return max(rows, key=lambda row: row.bound)


def select_tau0(
    train: Callable[[float, Pair | None], Pair],
    x: Tensor,
    y: Tensor,
    values: Iterable[float] = VALUES,
    *,
    reference: float = PUBLISHED,
    kl: Callable[[nn.Module, Any], float] | None = None,
    measure: Callable[[nn.Module, Any], Mapping[str, Any]] | None = None,
    num_samples: int = 100,
    k: int | None = None,
    seed: int = 0,
    done: Mapping[float, Tau0] | None = None,
    keep: Callable[[Tau0, nn.Module, Any], None] | None = None,
    engine: str = "here",
    jobs: int | None = None,
) -> list[Tau0]:
    """Train a pair at each value of tau0 and bound its evidence.

    All values start from one pair, trained at `reference`, and not each from the one before: so
    each has had the same training, whatever its place in the grid, and units that went at one
    value are not gone for those after it. Noise is the same for each value, so that differences
    between values are surer than the values.

    :param train: `train(tau0, start)` gives a trained pair of model and guide; `start` is the pair
        to start from, or None for the one trained at `reference`. It must not change `start`.
    :param x: inputs, all the training data, shape `(N, ...)`.
    :param y: labels, shape `(N, ...)`.
    :param values: of tau0, each above 0; default `VALUES`.
    :param kl: KL(q || p) of a pair in nats, where it has a closed form
        (`bitsback.ELBO().terms(model, guide, x, y).total_kl`); see `elbo`.
    :param measure: further figures of a trained pair, by name.
    :param num_samples: draws from each guide.
    :param k: importance-weighted bound of K draws, for models of up to some hundred values; None
        (default): none.
    :param seed: of the noise in the bounds.
    :param done: rows of values that need not be trained again.
    :param keep: called with each new row and its pair, in this process.
    :param engine: where values are trained: "here" (default), in local "processes", or by "ray";
        see `engines.each`, which says what `train`, `kl` and `measure` must then be.
    :param jobs: local processes at a time; default: one a core.
    :returns: one row a value, by rising tau0.
    :raises ValueError: for an improper prior, a guide without a density, part of the data, no
        values, or one that is not above 0.
    """
    values, done = sorted(set(values)), dict(done or {})
    if not values or not all(0 < value < float("inf") for value in values):
        raise ValueError(f"values of tau0 must be positive, and one at least; got {values}")
    pending = [value for value in values if value not in done]
    if pending:
        start = train(reference, None)
        refuse_improper(start[0])
        work = partial(
            _trained, train=train, start=start, x=x, y=y, kl=kl, measure=measure,
            num_samples=num_samples, k=k, seed=seed,
        )  # fmt: skip
        for value, (row, pair) in each(work, pending, engine, jobs):
            done[value] = row
            if keep is not None:
                keep(row, *pair)
    return [done[value] for value in values]


def _trained(
    value: float, *, train, start: Pair, x: Tensor, y: Tensor, kl, measure,
    num_samples: int, k: int | None, seed: int,
) -> tuple[Tau0, Pair]:  # fmt: skip
    """The row of a value, and its pair."""
    pair = train(value, start)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        row = _row(value, pair, x, y, kl, num_samples, k)
    if measure is not None:
        row.figures.update(measure(*pair))
    return row, pair


def _row(
    tau0: float, pair: Pair, x: Tensor, y: Tensor, kl, num_samples: int, k: int | None
) -> Tau0:
    draws, count = draw(*pair, x, y, num_samples, sites=()), len(y)
    bound = elbo(draws, None if kl is None else kl(*pair))
    row = Tau0(tau0, bound.value / count, bound.stderr / count, _per_datum(bound, count))
    if k is None:
        return row
    tighter = importance_bound(draws, k)
    return replace(
        row,
        parts=_per_datum(tighter, count),
        k=k,
        importance=tighter.value / count,
        importance_stderr=tighter.stderr / count,
    )


def _per_datum(bound: Evidence, count: int) -> list[float]:
    return [part / count for part in bound.parts]
