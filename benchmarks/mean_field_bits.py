"""What a guide's standard deviations are worth in bits, against NUTS.

    python benchmarks/mean_field_bits.py [--data digits] [--seeds 0 1 2] --json FILE

A tanh network without biases, prior N(0, 1), trained once; every guide and every chain starts
there. `digits`: 16-6-10 on 4 x 4 digits (600 of the training images). `wine`: 13-4-3 on the 178
wines of scikit-learn, standardised, 120 of them for training. `first`: the first layer is latent
and the output layer stays as trained; `both`: both are latent, and then there is no NUTS: on digits
its chains do not agree (R-hat above 4), as the posterior hardly changes when the hidden layer is
rotated.

For each guide, over all latent weights: the geometric mean of its stddev over NUTS's;
`bits_per_weight`, the empirical entropy of the weights on the step of the stddev rule (multiplier
1, one step for each layer); the rise of validation NLL [nats] and the error [%] there; and
`nats_per_weight`, the mean rise of the negative log joint density when rounding errors of that
step (uniform, independent) are added to the guide's means, which the rule says is 1/2. `curves`:
the same with every stddev times c.
"""

import argparse
import copy
import json
import math
import statistics
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import bitsback
import numpy as np
import pyro
import torch
from bitsback.compression.quantise import estimated_bits
from bitsback.compression.uniform import rule_step, uniform
from bitsback.compression.weights import Weights
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    init_to_value,
)
from record import made_by
from sklearn.datasets import load_wine
from torch import Tensor, nn

CHAINS, WARMUP, DRAWS, DEPTH = 2, 100, 150, 6
FACTORS = [2.0 ** (k / 2) for k in range(-4, 5)]  # of the stddev, 1/4 .. 4
DITHERS = 150


class Problem(NamedTuple):
    """A data set, and the widths of the network's inputs, hidden layer and outputs."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    widths: tuple[int, int, int]


def digits() -> Problem:
    data = bitsback.load_data("digits")
    train, validation = (
        (nn.functional.avg_pool2d(part.x, 2).flatten(1), part.y)
        for part in (data.train, data.validation)
    )
    return Problem(tuple(part[:600] for part in train), validation, (16, 6, 10))


def wine(count: int = 120) -> Problem:
    x, y = map(torch.from_numpy, load_wine(return_X_y=True))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    x = ((x - x[:count].mean(0)) / x[:count].std(0)).float()
    return Problem((x[:count], y[:count]), (x[count:], y[count:]), (13, 4, 3))


PROBLEMS = {"digits": digits, "wine": wine}


class Study:
    """One seed: data, the trained network, its model, and what a posterior's bits are worth."""

    def __init__(self, data: str, seed: int, latent: str):
        pyro.set_rng_seed(seed)
        self.latent = ["0.weight"] if latent == "first" else ["0.weight", "2.weight"]
        (self.x, self.y), self.validation, (inputs, hidden, outputs) = PROBLEMS[data]()
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, outputs, bias=False)
        )
        for weight in self.net.parameters():
            nn.init.normal_(weight)
        optimizer = torch.optim.Adam(self.net.parameters(), lr=0.02)
        for _ in range(2000):
            optimizer.zero_grad()
            self.loss(self.net).backward()
            optimizer.step()
        self.net.requires_grad_(False)
        self.rounded = copy.deepcopy(self.net)

    def loss(self, net: nn.Module) -> Tensor:
        """-log p(w, y | x) but for a constant, nats."""
        penalty = sum(w.square().sum() for w in net.parameters()) / 2
        return nn.functional.cross_entropy(net(self.x), self.y, reduction="sum") + penalty

    def model(self) -> nn.Module:
        return bitsback.models.Gaussian(self.net, len(self.y), scale=1.0, latent=self.latent)

    def start(self):
        return init_to_value(values=self.model().initial_weights())

    def train(self, guide, model, loss, steps: int, lr: float = 0.02):
        schedule = {"lr": lr, "lrd": 0.05 ** (1 / steps)}
        svi = SVI(model, guide, pyro.optim.ClippedAdam(schedule), loss)
        for _ in range(steps):
            svi.step(self.x, self.y)
        return guide

    def at(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """Loss on the training data and figures on validation data, of the network there."""
        with torch.no_grad():
            for name, value in weights.items():
                self.rounded.get_parameter(name).copy_(torch.as_tensor(value))
            x, y = self.validation
            output = self.rounded(x)
            return {
                "loss": self.loss(self.rounded).item(),
                "nll": nn.functional.cross_entropy(output, y).item(),
                "error": 100 * (output.argmax(1) != y).float().mean().item(),
            }

    def rounding(self, posterior, factor: float = 1.0) -> dict[str, float]:
        """The stddev rule with all standard deviations times `factor`."""
        means = {name: w.loc for name, w in posterior.weights.items()}
        exact, codes, steps = self.at(means), {}, {}
        for name, weight in posterior.weights.items():
            stddev = factor * weight.stddev.double().numpy()
            values = weight.loc.double().numpy()
            steps[name] = rule_step(stddev**-2.0, 1.0)
            codes[name] = uniform(Weights(values, stddev, np.ones(values.shape, bool)))
        size = sum(c.codes.size for c in codes.values())
        found = self.at({n: c.grid.values(c.codes).astype(np.float32) for n, c in codes.items()})
        rises = [
            self.at({n: w + steps[n] * (torch.rand(w.shape) - 0.5) for n, w in means.items()})
            for _ in range(DITHERS)
        ]
        return {
            "bits_per_weight": sum(estimated_bits(c) - 16 for c in codes.values()) / size,
            "step": math.exp(statistics.mean(math.log(s) for s in steps.values())),
            "nats_per_weight": (statistics.mean(r["loss"] for r in rises) - exact["loss"]) / size,
            "nll_rise": found["nll"] - exact["nll"],
            "error": found["error"],
            "error_unrounded": exact["error"],
        }


def local(study: Study, name: str, steps: int):
    model = study.model()
    guide = getattr(bitsback.guides, name)(model, init_scale=0.1)
    return study.train(guide, model, bitsback.ELBO(), steps), model


def auto(study: Study, kind, steps: int = 2000, **options):
    pyro.clear_param_store()  # where a guide of the same kind may have left its parameters
    model = study.model()
    guide = kind(model, init_loc_fn=study.start(), init_scale=0.1, **options)
    return study.train(guide, model, Trace_ELBO(), steps), model


def laplace(study: Study):
    model = study.model()
    guide = bitsback.guides.DiagonalLaplace(model)
    guide.after_training(study.x, study.y)
    return guide, model


def swag(study: Study, batch: int = 32):
    """SGD, collected after every epoch but the first 20.

    At a rate lr on the loss of n examples, gradients vary by about n / batch times the curvature,
    so that each weight comes to vary by lr n / (2 batch), whatever its curvature is. That is the
    posterior's 1 / curvature, for the mean curvature, at the rate chosen here.
    """
    curvature = laplace(study)[0].posterior().weights.values()
    mean = torch.cat([w.stddev.flatten() ** -2 for w in curvature]).mean().item()
    model, n = study.model(), len(study.y)
    guide = bitsback.guides.SWAG(model)
    svi = SVI(model, guide, pyro.optim.SGD({"lr": 2 * batch / n / mean}), bitsback.ELBO())
    for epoch in range(220):
        for index in torch.randperm(n).split(batch):
            svi.step(study.x[index], study.y[index])
        if epoch >= 20:
            guide.collect()
    return guide, model


GUIDES = {
    "MeanFieldNormal": lambda s: local(s, "MeanFieldNormal", 1000),
    "AutoNormal": lambda s: auto(s, AutoNormal),
    "RowNormal": lambda s: local(s, "RowNormal", 1500),
    "AutoLowRankMultivariateNormal": lambda s: auto(s, AutoLowRankMultivariateNormal, rank=12),
    "AutoMultivariateNormal": lambda s: auto(s, AutoMultivariateNormal),
    "DiagonalLaplace": laplace,
    "SWAG": swag,
}
BOTH = ("MeanFieldNormal", "RowNormal", "AutoMultivariateNormal")  # of the whole network


def nuts(study: Study) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Draws of all chains, by weight, and the worst of the chains' diagnostics."""
    chains = []
    for _ in range(CHAINS):
        kernel = NUTS(study.model(), init_strategy=study.start(), max_tree_depth=DEPTH)
        sampler = MCMC(kernel, num_samples=DRAWS, warmup_steps=WARMUP, disable_progbar=True)
        sampler.run(study.x, study.y)
        chains.append(sampler.get_samples())
    draws = {name: torch.stack([c[name] for c in chains]) for name in chains[0]}
    rhat = torch.cat([pyro.ops.stats.split_gelman_rubin(d).flatten() for d in draws.values()])
    size = torch.cat([pyro.ops.stats.effective_sample_size(d).flatten() for d in draws.values()])
    quality = {
        "rhat_max": rhat.max().item(),
        "rhat_median": rhat.median().item(),
        "ess_min": size.min().item(),
        "ess_median": size.median().item(),
    }
    return {name: d.flatten(0, 1) for name, d in draws.items()}, quality


def run(data: str, seed: int, latent: str) -> dict:
    study = Study(data, seed, latent)
    result, posteriors = {}, {}
    if latent == "first":
        draws, result["nuts"] = nuts(study)
        posteriors["NUTS"] = bitsback.posterior_of(draws, study.model())
    for name in GUIDES if latent == "first" else BOTH:
        posteriors[name] = bitsback.posterior_of(*GUIDES[name](study))
    result["guides"] = {
        name: {**spread(posterior, posteriors.get("NUTS")), **study.rounding(posterior)}
        for name, posterior in posteriors.items()
    }
    result["curves"] = {
        name: [{"c": c, **study.rounding(posteriors[name], c)} for c in FACTORS]
        for name in ("MeanFieldNormal", "NUTS")
        if name in posteriors
    }
    return result


def spread(posterior, exact) -> dict[str, float]:
    """Mean standard deviation, and the geometric mean of its ratio to the exact one."""
    stddev = torch.cat([w.stddev.flatten() for w in posterior.weights.values()])
    found = {"mean_stddev": stddev.mean().item()}
    if exact is not None:
        other = torch.cat([exact.weights[name].stddev.flatten() for name in posterior.weights])
        found["stddev_over_nuts"] = (stddev / other).log().mean().exp().item()
    return found


def show(result: dict) -> None:
    rows = dict(result["guides"])
    for name, curve in result["curves"].items():
        rows |= {f"{name}, c = {row['c']:.2f}": row for row in curve}
    for name, row in rows.items():
        print(f"{name:32}", {k: round(v, 3) for k, v in row.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=PROBLEMS, default="digits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="pyro")
    runs, start, about = {"first": {}, "both": {}}, time.process_time(), made_by()
    for seed in options.seeds:
        for latent in runs:
            runs[latent][seed] = run(options.data, seed, latent)
            print(seed, latent, runs[latent][seed].get("nuts", ""))
            show(runs[latent][seed])
            print(f"{time.process_time() - start:.0f} s", flush=True)
    if options.json:
        result = {
            **about,
            "data": options.data,
            "seeds": options.seeds,
            "cpu_seconds": round(time.process_time() - start),
            "chains": {"chains": CHAINS, "warmup": WARMUP, "draws": DRAWS, "depth": DEPTH},
            "runs": runs,
        }
        options.json.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
