"""The figures of a trained pair as plain numbers that JSON can hold."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .calibration import Calibration
from .draws import Draws
from .evidence import correctable, estimates
from .khat import khat_by_site
from .loo import leave_one_out
from .psis import MANY_VALUES, psis, verdict


def figures(
    model: nn.Module,
    source: Any,
    draws: Draws,
    calibrations: Mapping[str, Calibration] | None = None,
    most_examples: int = 5000,
    train: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Any]:
    """What `report_html` shows, without pictures; a key is None where the pair has no such figure.

    :param draws: of `source` on the training data.
    :param calibrations: of a classifier on data not trained on, from `calibrations`.
    :param most_examples: leave-one-out is left out for more, since it fits a tail for each; so are
        k-hats by site, each of which needs a hundred passes.
    :param train: the training data, for k-hats by site of those of up to 300 values.
    :returns: `draws` and `values` (how many draws, latent values), `obstacle` (why there is no
        evidence, or None), `khat`, `verdict`, `site_khats` (name -> k-hat), `evidence` (name ->
        value, stderr in nats, direction), `loo` (elpd, stderr in nats, how many k-hats are above
        the threshold; None too where the joint k-hat is 1 or more), `calibration` (name -> nll in
        nats, brier, ece, and the reliability `curve`: confidence, accuracy and count by bin).
    """
    count, examples = draws.log_likelihood.shape
    found: dict[str, Any] = {
        "draws": count,
        "values": draws.latent_values,
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
        evidence = {
            e.name: {"value": e.value, "stderr": e.stderr, "direction": e.direction}
            for e in estimates(draws)
        }
        said = verdict(khat, count, draws.latent_values)
        found |= {"khat": khat, "verdict": said, "evidence": evidence}
    if train is not None and not draws.why and examples <= most_examples:
        found["site_khats"] = _site_khats(model, source, *train)
    if (draws.exact or not draws.why) and examples <= most_examples and correctable(draws):
        result = leave_one_out(draws)
        found["loo"] = {
            "elpd": result.elpd,
            "stderr": result.stderr,
            "khat_above": result.doubtful,
        }
    if calibrations is not None:
        found["calibration"] = {
            name: {
                "nll": c.nll.mean().item(),
                "brier": c.brier.mean().item(),
                "ece": float(c.ece),
                "curve": _curve(c),
            }
            for name, c in calibrations.items()
        }
    return found


def _curve(c: Calibration) -> list[dict[str, float]]:
    """The reliability curve, without the bins that are empty."""
    rows = zip(c.confidence.tolist(), c.accuracy.tolist(), c.count.tolist(), strict=True)
    return [
        dict(zip(("confidence", "accuracy", "count"), row, strict=True)) for row in rows if row[2]
    ]


def _site_khats(model: nn.Module, source: Any, x: Tensor, y: Tensor) -> dict[str, float]:
    khats = khat_by_site(model, source, x, y, num_samples=100, contexts=1, largest=MANY_VALUES)
    return {name: values.item() for name, values in khats.items()}
