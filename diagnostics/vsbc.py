"""Simulation-based calibration of a way of fitting: is it biased, is it too narrow?

Yao, Vehtari, Simpson and Gelman 2018, *Yes, but did it work? Evaluating variational inference*,
section 3: where data come from the model itself, the truth is a draw from each posterior, and its
quantile under q tells what q gets wrong on average.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pyro import poutine
from torch import Tensor, nn

from .draws import draws_of, weights_of
from .traces import LABELS, evaluating, refuse_improper, replayed


@dataclass(frozen=True)
class Vsbc:
    """Quantiles of the truth under q, over simulated data sets.

    :param quantiles: q(site < truth) by latent site and effective weight, shape `(simulations,
        *site shape)`. Uniform for the exact posterior.
    """

    quantiles: Mapping[str, Tensor]

    def bias(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean quantile less 1/2, and its standard error, both of the site's shape.

        Above 0: q tends to lie below the truth.
        """
        values = self.quantiles[name]
        return values.mean(0) - 0.5, values.std(0) / math.sqrt(len(values))

    def spread(self, name: str) -> tuple[float, float]:
        """Mean squared distance of the quantiles from 1/2 over the 1/12 of uniform ones.

        Above 1: the truth is too often in q's tails, so q is too narrow or biased; below: too
        wide. Pooled over the site's values; the standard error is over the simulations.
        """
        squared = 12 * (self.quantiles[name] - 0.5).square().flatten(1).mean(1)
        return squared.mean().item(), (squared.std() / math.sqrt(len(squared))).item()

    def verdict(self, name: str) -> str:
        """In words, by two standard errors."""
        bias, stderr = self.bias(name)
        spread, error = self.spread(name)
        biased = ((bias / stderr).abs() > 2).double().mean().item()
        words = [f"{name}: spread {spread:.2f} +- {error:.2f}"]
        if spread > 1 + 2 * error:
            words.append("q is too narrow")
        elif spread < 1 - 2 * error:
            words.append("q is too wide")
        else:
            words.append("no sign of a wrong width")
        words.append(f"{biased:.0%} of its values look biased (5 % would by chance)")
        return ", ".join(words)


def vsbc(
    model: nn.Module,
    fit: Callable[[nn.Module, Tensor, Tensor], Callable],
    x: Tensor,
    simulations: int = 100,
    num_samples: int = 200,
) -> Vsbc:
    """Simulate data from the model, fit each, and see where the truth lies.

    It looks at marginals and at averages over the prior: correlations, and errors on the one data
    set at hand, it does not see. For small models.

    :param model: proper prior. Its point parameters stay as they are in the simulation; `fit`
        works on a copy, whose labels come from them.
    :param fit: `fit(model, x, y)` trains a new guide on the copy and returns it (or whatever else
        `draw` takes).
    :param x: inputs of all simulated data sets, shape `(num_data, ...)`.
    :param simulations: data sets.
    :param num_samples: draws of each guide.
    :raises ValueError: for an improper prior, which cannot be simulated from, and for a number of
        inputs that is not the model's num_data: the fits would weigh the labels wrongly.
    """
    refuse_improper(model)
    if len(x) != getattr(model, "num_data", len(x)):
        raise ValueError(
            f"vsbc() simulates a label for each input: {len(x)} inputs were given, but the model's "
            f"num_data is {model.num_data}; make the model with num_data={len(x)}"
        )
    found: dict[str, list[Tensor]] = {}
    for _ in range(simulations):
        with evaluating(model), torch.no_grad():
            simulated = poutine.trace(model).get_trace(x)
        y = simulated.nodes[LABELS]["value"]
        fresh = copy.deepcopy(model)
        source = fit(fresh, x, y)
        with torch.no_grad():
            draws = [values for values, _ in draws_of(source, x, y, num_samples)[1]]
        truths = dict(weights_of(simulated))
        if not set(truths) <= set(draws[0]):  # some weights are made of the sites
            with evaluating(fresh), torch.no_grad():
                draws = [dict(weights_of(replayed(fresh, values, x, y))) for values in draws]
        for name, truth in truths.items():
            below = sum((values[name] < truth).double() for values in draws)
            found.setdefault(name, []).append((below + 0.5) / (len(draws) + 1))
    return Vsbc({name: torch.stack(values) for name, values in found.items()})
