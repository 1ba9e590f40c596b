"""Leave-one-out cross-validation from draws, corrected for the approximation.

Plain PSIS-LOO takes the draws for draws from the posterior. Those of a guide are not: the weights
that leave example n out must also turn q into the posterior (Magnusson, Andersen, Jonasson and
Vehtari 2019, *Bayesian leave-one-out cross-validation for large data*, eq. 5).
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Draws
from .psis import psis, threshold

_INSTEAD = (
    "Score held-out data instead (diagnostics.predict and calibration, or pit), refit on K parts "
    "of the data, draw by MCMC, or take a guide nearer the posterior"
)


@dataclass(frozen=True)
class Loo:
    """Leave-one-out predictive densities.

    :param pointwise: log p(y_n | y_-n) of each example in nats, shape `(N,)`.
    :param khat: k-hat of each example's weights, shape `(N,)`; above `limit` its figure is not to
        be trusted.
    :param within: log p(y_n | y) in nats, shape `(N,)`: the same with example n left in.
    :param corrected: False for a guide's draws that were taken for the posterior's.
    :param limit: the k-hat up to which so many draws suffice, 0.7 at most (see `threshold`).
    """

    pointwise: Tensor
    khat: Tensor
    within: Tensor
    corrected: bool
    limit: float = 0.7

    @property
    def doubtful(self) -> int:
        """Of how many examples the k-hat is above `limit`."""
        return int((self.khat > self.limit).sum())

    @property
    def elpd(self) -> float:
        """Expected log predictive density: the sum over the examples, in nats."""
        return self.pointwise.sum().item()

    @property
    def stderr(self) -> float:
        """Standard error of elpd over the choice of the N examples, in nats."""
        return math.sqrt(len(self.pointwise) * self.pointwise.var().item())

    @property
    def p_loo(self) -> float:
        """Effective number of parameters: what an example gains from being in the data, summed."""
        return (self.within - self.pointwise).sum().item()


def loo(draws: Draws, corrected: bool = True) -> Loo:
    """Leave-one-out cross-validation without refitting.

        elpd_n = log sum_s v_ns p(y_n | x_n, w_s),  v_n = PSIS(p(w, y) / (q(w) p(y_n | x_n, w)))

    Draws by MCMC are from the posterior and need no correction. Cost: S x N in memory and one
    Pareto fit an example; for up to about 5,000 examples.

    :param draws: from `draw` on the training data.
    :param corrected: False takes a guide's draws for the posterior's, and so hides the error of
        the approximation; for comparison only.
    :raises ValueError: where a correction is wanted and the draws have no log ratio.

    Warns (UserWarning) where any k-hat is above the limit: the figure may then be nats too high.
    """
    result = leave_one_out(draws, corrected)
    if result.doubtful:
        warnings.warn(f"loo(): {_doubt(result)}. {_INSTEAD}", UserWarning, stacklevel=2)
    return result


def leave_one_out(draws: Draws, corrected: bool = True) -> Loo:
    """`loo` without its warning, for a caller that says itself what the k-hats say."""
    log_likelihood = draws.log_likelihood.double()
    base = _base(draws, corrected)
    weights = psis(base).normalized
    within = torch.logsumexp(weights[:, None] + log_likelihood, 0)
    pointwise, khats = [], []
    for column in log_likelihood.T:
        smoothed = psis(base - column)
        pointwise.append(torch.logsumexp(smoothed.normalized + column, 0))
        khats.append(smoothed.khat)
    khat = torch.tensor(khats, dtype=torch.float64)
    limit = threshold(len(log_likelihood))
    return Loo(torch.stack(pointwise), khat, within, corrected or draws.exact, limit)


def _doubt(result: Loo) -> str:
    count, worst = len(result.khat), result.khat.max().item()
    return (
        f"the k-hats of {result.doubtful} of {count} examples are above {result.limit:.2f} (the "
        f"largest is {worst:.2f}), so that the sum may be far too high"
    )


def loo_pit(draws: Draws, y: Tensor, corrected: bool = True) -> Tensor:
    """Probability integral transform of each label under what the others predict of it.

    sum_s v_ns [y_ns <= y_n], y_ns a label drawn from p(y | x_n, w_s) and v_n as for `loo`; uniform
    over the examples where the predictive distribution is right (see `distance_to_uniform`). So
    training data can be used, which flatter `pit`. Where an example's k-hat is too large it is as
    little to be trusted as its elpd.

    :param draws: from `draw` on the training data with `predict=True`.
    :param y: real labels, shape `(N,)` or `(N, 1)`.
    :returns: shape `(N,)`, in steps of the weights.
    :raises ValueError: for draws without predictions, labels that are no numbers on a line, and as
        `loo`.
    """
    if draws.predictions is None:
        raise ValueError("loo_pit() needs labels drawn from the model: draw(..., predict=True)")
    count = draws.log_likelihood.shape[1]
    if not y.is_floating_point() or y.numel() != count:
        raise ValueError(f"loo_pit() needs {count} real labels, one an example")
    log_likelihood, base = draws.log_likelihood.double(), _base(draws, corrected)
    below = draws.predictions.reshape(-1, count) <= y.reshape(count).cpu()
    weights = [psis(base - column).normalized.exp() for column in log_likelihood.T]
    return (torch.stack(weights, 1) * below).sum(0).clamp(0, 1)


def _base(draws: Draws, corrected: bool) -> Tensor:
    """log of what turns the draws into the posterior's, but for a constant, shape `(S,)`."""
    if corrected and not draws.exact:
        return draws.log_ratio - draws.log_ratio.max()
    return torch.zeros(len(draws.log_likelihood), dtype=torch.float64)


@dataclass(frozen=True)
class Rank:
    """One row of a comparison; nats.

    :param elpd: of this one.
    :param difference: its elpd less that of the best.
    :param stderr: of the difference, paired over the examples.
    :param worst_khat: the largest k-hat of any example.
    """

    name: str
    elpd: float
    difference: float
    stderr: float
    worst_khat: float


def compare(results: Mapping[str, Loo]) -> list[Rank]:
    """Guides or models by elpd, best first, with paired differences.

    :param results: by name; all on the same examples in the same order.
    :raises ValueError: for results on different numbers of examples, corrected ones beside
        uncorrected ones of guides, and a result with a k-hat above its limit: such a sum may be
        too high by more than the results differ, so that their order says nothing.
    """
    if len({len(result.pointwise) for result in results.values()}) > 1:
        raise ValueError("compare() needs results on the same examples")
    if len({result.corrected for result in results.values()}) > 1:
        raise ValueError("compare() needs results that are all corrected, or none: see loo()")
    for name, result in results.items():
        if result.doubtful:
            raise ValueError(f"compare() cannot rank {name!r}: {_doubt(result)}. {_INSTEAD}")
    ordered = sorted(results.items(), key=lambda item: -item[1].elpd)
    best = ordered[0][1].pointwise
    rows = []
    for name, result in ordered:
        gap = result.pointwise - best
        stderr = math.sqrt(len(gap) * gap.var().item())
        rows.append(Rank(name, result.elpd, gap.sum().item(), stderr, result.khat.max().item()))
    return rows
