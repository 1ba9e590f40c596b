"""Whether compression left a network worth having: against the network given, and a constant.

The search holds its margins against the posterior means. They may themselves be worse than the
network that the user brought, and then a file within the margins is worse too.
"""

import torch
from torch import Tensor, nn
from torch.special import entr

from ..common.examples import Inputs
from ..common.modules import copied
from .batch_norm import batch_norms, choose
from .scores import Rise, Scores, rise, scores

CLEAR = 2.0  # standard errors beyond which a rise is not chance


class WorseNetwork(UserWarning):
    """A posterior or a file predicts worse than the network given, or no better than a constant."""


def given_scores(net: nn.Module, x: Inputs, y: Tensor, likelihood: str) -> Scores | None:
    """The scores of the network given, in eval mode on the CPU; None if they are not finite."""
    return _if_finite(scores(copied(net).cpu().eval(), x, y, likelihood))


def start_scores(
    net: nn.Module, x: Inputs, y: Tensor, likelihood: str, inputs: Inputs
) -> Scores | None:
    """As `given_scores`, of a network whose BatchNorm statistics may have been trained since.

    Those belong to the weights of the posterior, with which training went on. So the scores are
    those with statistics re-estimated on `inputs`, if their NLL is lower (`batch_norm.choose`).
    """
    if not batch_norms(net):
        return given_scores(net, x, y, likelihood)
    return _if_finite(choose(copied(net).cpu().eval(), inputs, x, y, likelihood).scores)


def _if_finite(found: Scores) -> Scores | None:
    finite = found.nll.isfinite().all() and found.error.isfinite().all()
    return found if finite else None


def constant_scores(y: Tensor, likelihood: str) -> tuple[float, float]:
    """Mean NLL [nats] and error [%] of the best predictor that does not look at the inputs.

    It has a constant for each label of an example, fitted to `y` by maximum likelihood. No network
    whose outputs are constant has a lower NLL on `y`.

    :param y: labels, shape `(n, ...)`, n >= 1.
    """
    flat = y.reshape(len(y), -1)
    if likelihood == "categorical":
        return _constant_class(flat)
    flat = flat.double()
    mean = flat.mean(0)
    if likelihood == "bernoulli":
        nll = (entr(mean) + entr(1 - mean)).sum()
        return float(nll), float(100 * torch.minimum(mean, 1 - mean).mean())
    variance = (flat - mean).square().mean(0)
    nll = 0.5 * (variance + torch.log(torch.tensor(2 * torch.pi))).sum()
    return float(nll), 100.0 if variance.any() else 0.0


def _constant_class(flat: Tensor) -> tuple[float, float]:
    count, places = flat.shape
    classes = int(flat.max()) + 1
    keys, times = (torch.arange(places) * classes + flat.long()).unique(return_counts=True)
    nll = entr(times.double() / count).sum()
    most = torch.zeros(places, dtype=times.dtype).scatter_reduce(
        0, keys // classes, times, "amax", include_self=True
    )
    return float(nll), float(100 * (1 - most.sum() / flat.numel()))


def verdict(
    file: Scores,
    means: Scores,
    given: Scores | None,
    y: Tensor,
    likelihood: str,
    margins: tuple[float, float],
) -> dict:
    """What a report says of a file beside its rise over the posterior means.

    :param margins: the rises in NLL [nats] and error [points] that are allowed.
    :returns: `posterior_rise` and `rise_over_given`, of the means and of the file over the network
        given (None without finite scores of it); `constant`, NLL and error of the best constant;
        `beats_constant`, whether the file is better than that in both, or the network given is not
        either; `warnings`, a list of sentences.
    """
    nll, error = constant_scores(y, likelihood)
    found = {
        "posterior_rise": None,
        "rise_over_given": None,
        "constant": {"nll": nll, "error": error},
        "beats_constant": _beats(file, given, nll, error),
        "warnings": [],
    }
    if given is not None:
        over = rise(means, given)
        found["posterior_rise"] = vars(over)
        found["rise_over_given"] = vars(rise(file, given))
        if _clearly_worse(over, margins):
            found["warnings"].append(_worse_posterior(over, means, given))
    if not found["beats_constant"]:
        found["warnings"].append(
            f"the file predicts no better than a constant: validation NLL {_mean(file.nll):.4f} "
            f"nats and error {_mean(file.error):.2f} %, the best constant {nll:.4f} and "
            f"{error:.2f} %; it is not within the margins"
        )
    return found


def _beats(file: Scores, given: Scores | None, nll: float, error: float) -> bool:
    """For each measure: the file is below the constant's, or the network given is not either."""
    slack = 1e-9
    return all(
        _mean(after) < limit - slack or (before is not None and not _mean(before) < limit - slack)
        for after, before, limit in (
            (file.nll, given and given.nll, nll),
            (file.error, given and given.error, error),
        )
    )


def _clearly_worse(over: Rise, margins: tuple[float, float]) -> bool:
    return over.nll > max(margins[0], CLEAR * over.nll_stderr) or over.error > max(
        margins[1], CLEAR * over.error_stderr
    )


def _worse_posterior(over: Rise, means: Scores, given: Scores) -> str:
    return (
        "the posterior means are worse than the network given: validation error "
        f"{_mean(means.error):.2f} % after {_mean(given.error):.2f} %, NLL {over.nll:+.4f} ± "
        f"{over.nll_stderr:.4f} nats; the margins are held against the posterior means, so the "
        "file is worse too: train longer, at another learning rate, or with a weaker prior"
    )


def _mean(values: Tensor) -> float:
    return float(values.mean())
