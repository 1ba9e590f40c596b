"""The horseshoe's bound on the evidence beside the truth, over tau0.

    python benchmarks/tau0_gap.py --json FILE

Linear regression with a column of orthogonal inputs for each weight, of which some are zero:
y = X w + noise, w_g = z_g s base_g. Given s the evidence is a product over weights, so the truth
is a double quadrature: over log z for each weight, then over log s. At each tau0 the guide is
trained by SVI; its ELBO, the importance-weighted bound of K draws, and the same two of the type-II
tau0 (`learn_tau0`) are held against the truth.
"""

import argparse
import functools
import json
import math
from pathlib import Path

import bitsback
import pyro
import torch
from bitsback import diagnostics
from bitsback.models.likelihoods import normal
from pyro.infer import SVI
from record import made_by
from torch import nn

NOISE, EACH = 0.5, 4  # standard deviation of the labels; examples that each weight sees
WEIGHTS = (1.0, -0.6, 0.3, 0.0, 0.0, 0.0)
VALUES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
K, DRAWS = 50, 500


class Regression:
    """The data, the evidence by quadrature, and the pair at each tau0. All in float64."""

    def __init__(self, weights: tuple[float, ...] = WEIGHTS, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        size = len(weights)
        self.x = torch.eye(size, dtype=torch.float64).repeat(EACH, 1)
        noise = torch.randn(len(self.x), generator=generator, dtype=torch.float64)
        self.y = (self.x @ torch.tensor(weights, dtype=torch.float64) + NOISE * noise)[:, None]
        self.size = size

    def log_evidence(self, tau0: float) -> float:
        """log p(y | X, tau0), nats, by the trapezoidal rule in log s and log z.

        log z and log(s / tau0) have the density sech(u) / pi; over a range of +-45 and steps of 0.1
        the rule's error is below rounding.
        """
        u = torch.arange(-45, 45, 0.1, dtype=torch.float64)
        log_p = -math.log(math.pi) - torch.log(torch.cosh(u)) + math.log(0.1)
        scale = (u[:, None] + u + math.log(tau0)).exp()  # (s, z)
        given_s = torch.zeros_like(u)
        for group in range(self.size):
            y = self.y[self.x[:, group] == 1, 0]
            # Of EACH labels that are N(w, NOISE^2) with w ~ N(0, scale^2).
            grown = NOISE**2 + EACH * scale.square()
            square = y.square().sum() - scale.square() * y.sum() ** 2 / grown
            likelihood = -0.5 * (square / NOISE**2 + (grown / NOISE**2).log())
            given_s += torch.logsumexp(log_p + likelihood, 1)
        constant = len(self.y) * math.log(NOISE * math.sqrt(2 * math.pi))
        return (torch.logsumexp(log_p + given_s, 0) - constant).item()

    def pair(self, tau0: float, learn: str | None = None) -> diagnostics.tau0.Pair:
        net = nn.Linear(self.size, 1, bias=False).double()
        with torch.no_grad():  # least squares: where a trained network would be
            net.weight.copy_((self.x.T @ self.y / EACH).T)
        likelihood = functools.partial(normal, scale=NOISE)
        model = bitsback.models.Horseshoe(
            net, len(self.y), tau0=tau0, learn_tau0=learn, likelihood=likelihood
        )
        return model, bitsback.guides.Horseshoe(model, init_scale=0.3)

    def train(
        self,
        tau0: float,
        start: diagnostics.tau0.Pair | None,
        steps: int = 300,
        learn: str | None = None,
    ) -> diagnostics.tau0.Pair:
        model, guide = self.pair(tau0, learn)
        if start is not None:
            guide.load_state_dict(start[1].state_dict())
            guide.rebalance()
        pyro.set_rng_seed(0)
        decay = {
            "optimizer": torch.optim.Adam,
            "optim_args": {"lr": 0.05},
            "gamma": 0.01 ** (1 / steps),
        }
        schedule = pyro.optim.ExponentialLR(decay)
        svi = SVI(model, guide, schedule, bitsback.ELBO())
        for step in range(steps):
            svi.step(self.x, self.y)
            schedule.step()
            if learn and step % 10 == 9:
                guide.after_epoch()
        return model, guide

    def kl(self, model: nn.Module, guide: nn.Module) -> float:
        with torch.no_grad():
            return bitsback.ELBO().terms(model, guide, self.x, self.y).total_kl.item()


def study(problem: Regression, steps: int, draws: int) -> dict:
    """All rows, in nats for the whole data set, and where each curve has its maximum."""
    train = functools.partial(problem.train, steps=steps)
    options = {"kl": problem.kl, "num_samples": draws, "k": K}
    rows = [
        row(problem, found, found.tau0)
        for found in diagnostics.select_tau0(train, problem.x, problem.y, VALUES, **options)
    ]
    learning = functools.partial(problem.train, steps=2 * steps, learn="global")
    ends = []

    def keep(found, model, guide):
        ends.append(row(problem, found, model.learned.log_tau0.exp().item()))

    diagnostics.select_tau0(learning, problem.x, problem.y, [1e-5, 1.0], keep=keep, **options)
    grid = torch.logspace(-3, 2, 501).tolist()
    return {
        "rows": rows,
        "learned_from_1e-5": ends[0],
        "learned_from_1": ends[1],
        "maximum": {
            **{
                k: max(rows, key=lambda r, k=k: r[k])["tau0"]
                for k in ("truth", "elbo", "importance")
            },
        },
        "truth_maximum_off_the_grid": max(grid, key=problem.log_evidence),
    }


def row(problem: Regression, found: diagnostics.Tau0, tau0: float) -> dict[str, float]:
    count, truth = len(problem.y), problem.log_evidence(tau0)
    return {
        "tau0": tau0,
        "truth": truth,
        "elbo": count * found.elbo,
        "elbo_stderr": count * found.elbo_stderr,
        "importance": count * found.importance,
        "importance_stderr": count * found.importance_stderr,
        "gap_elbo": truth - count * found.elbo,
        "gap_importance": truth - count * found.importance,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = study(Regression(), options.steps, options.draws)
    for one in [*found["rows"], found["learned_from_1e-5"], found["learned_from_1"]]:
        print({key: round(value, 9 if key == "tau0" else 3) for key, value in one.items()})
    print(found["maximum"], found["truth_maximum_off_the_grid"])
    if options.json:
        result = {
            **made_by(),
            "seed": 0,
            "k": K,
            **found,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
