"""The figures of a trained pair as plain numbers that JSON can hold."""

from typing import Any

import torch
from torch import Tensor, nn

from .calibration import calibration, has_probabilities, predict
from .draws import Draws
from .evidence import elbo, importance_bound, psis_evidence
from .khat import khat_by_site
from .loo import loo
from .psis import psis, threshold, verdict


def figures(
    model: nn.Module,
    source: Any,
    draws: Draws,
    held_out: tuple[Tensor, Tensor] | None = None,
    network: nn.Module | None = None,
    most_examples: int = 5000,
    train: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Any]:
    """What `report_html` shows, without pictures; a key is None where the pair has no such figure.

    :param draws: of `source` on the training data.
    :param held_out: inputs and labels not trained on, for calibration of a classifier.
    :param network: the compressed classifier, for calibration beside it.
    :param most_examples: leave-one-out is left out for more, since it fits a tail for each; so are
        k-hats by site, each of which needs a hundred passes.
    :param train: the training data, for k-hats by site of those of up to 300 values.
    :returns: `draws` and `values` (how many), `obstacle` (why there is no evidence, or None),
        `khat`, `verdict`, `site_khats` (name -> k-hat), `evidence` (name -> value, stderr in nats,
        direction), `loo` (elpd, stderr in nats, how many k-hats are above the threshold),
        `calibration` (name -> nll in nats, brier, ece).
    """
    count, examples = draws.log_likelihood.shape
    found: dict[str, Any] = {
        "draws": count,
        "values": sum(value[0].numel() for value in draws.values.values()),
        "obstacle": draws.why or None,
        "khat": None,
        "verdict": None,
        "site_khats": None,
        "evidence": None,
        "loo": None,
        "calibration": None,
    }
    if not draws.why:
        khat = psis(draws.log_ratio).khat
        estimates = (elbo(draws), importance_bound(draws, count // 10), psis_evidence(draws))
        evidence = {
            e.name: {"value": e.value, "stderr": e.stderr, "direction": e.direction}
            for e in estimates
        }
        found |= {"khat": khat, "verdict": verdict(khat, count), "evidence": evidence}
    if train is not None and not draws.why and examples <= most_examples:
        found["site_khats"] = _site_khats(model, source, *train)
    if (draws.exact or not draws.why) and examples <= most_examples:
        result = loo(draws)
        above = int((result.khat > threshold(count)).sum())
        found["loo"] = {"elpd": result.elpd, "stderr": result.stderr, "khat_above": above}
    if held_out is not None and has_probabilities(model, source, held_out[0]):
        found["calibration"] = _calibration(model, source, *held_out, network)
    return found


def _site_khats(model: nn.Module, source: Any, x: Tensor, y: Tensor) -> dict[str, float]:
    khats = khat_by_site(model, source, x, y, num_samples=100, contexts=1, largest=300)
    return {name: values.item() for name, values in khats.items()}


def _calibration(model, source, x: Tensor, y: Tensor, network: nn.Module | None) -> dict:
    probabilities = {"average over q": predict(model, source, x)}
    binary = probabilities["average over q"].dim() == y.dim()
    if network is not None:
        with torch.no_grad():
            output = network(x)
        probabilities["compressed"] = output.sigmoid() if binary else output.softmax(-1)
    result = {}
    for name, values in probabilities.items():
        c = calibration(values.flatten(), y.flatten()) if binary else calibration(values, y)
        result[name] = {
            "nll": c.nll.mean().item(), "brier": c.brier.mean().item(), "ece": float(c.ece),
        }  # fmt: skip
    return result
