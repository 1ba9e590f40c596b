"""The evidence of Laplace approximations beside the truth, and the prior scale that it chooses.

    python benchmarks/laplace_evidence.py --json FILE

Part 1: models whose evidence is known, exactly, by quadrature, or by importance sampling. At the
maximum of the log joint density the Laplace evidence is computed with the full Hessian, with
`KroneckerLaplace` and with `DiagonalLaplace`; the error is that minus the truth, in nats.
Part 2: a network for 4 x 4 digits is trained under N(0, scale^2) for several scales. Does the
evidence choose the scale that validation data choose?
"""

import argparse
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import bitsback
import torch
from bitsback import guides, models
from bitsback.diagnostics.evidence import log_mean
from bitsback.diagnostics.psis import psis
from bitsback.models.likelihoods import normal
from record import made_by
from sklearn.datasets import load_wine
from torch import Tensor, nn
from torch.func import functional_call

NOISE, PRIOR, SEEDS = 0.5, 0.8, 5
LOGISTIC = (20, 50, 200, 1000)  # examples
WIDER = 1.1  # of the proposals than the posterior: k-hat is least near this
SCALES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
NORMAL = functools.partial(normal, scale=NOISE)


class Problem:
    """A network, its data, and the log joint density of its latent weights as one vector."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, likelihood, scale: float = PRIOR):
        self.net, self.x, self.y, self.likelihood, self.scale = net, x, y, likelihood, scale
        self.about: dict[str, float] = {}  # of the truth, where it is an estimate
        self.model = self.fresh_model()
        self.shapes = {n: w.shape for n, w in self.model.initial_weights().items()}
        self.size = sum(shape.numel() for shape in self.shapes.values())

    def fresh_model(self) -> nn.Module:
        return models.Gaussian(
            self.net, num_data=len(self.y), likelihood=self.likelihood, scale=self.scale
        )

    def log_joint(self, w: Tensor) -> Tensor:
        """log p(y | x, w) + log p(w) of a flat vector, nats."""
        parts = w.split([shape.numel() for shape in self.shapes.values()])
        weights = {n: p.reshape(s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}
        output = functional_call(self.net, weights, (self.x,))
        y = self.y.to(output.dtype) if self.likelihood != "categorical" else self.y
        fit = self.model.likelihood_of(output, None).log_prob(y).sum()
        return fit + torch.distributions.Normal(0.0, self.scale).log_prob(w).sum()

    def train(self, steps: int = 200, also_biases: bool = False) -> Tensor:
        """Put the network's weights where the log joint is largest; they are returned flat."""
        latent = [self.net.get_parameter(name) for name in self.shapes]
        trained = [*self.net.parameters()] if also_biases else latent
        optimizer = torch.optim.LBFGS(
            trained, max_iter=steps, history_size=50, line_search_fn="strong_wolfe",
            tolerance_grad=1e-9, tolerance_change=1e-14,
        )  # fmt: skip

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = -self.log_joint(torch.cat([w.flatten() for w in latent]))
            value.backward()
            return value

        optimizer.step(loss)
        self.model = self.fresh_model()
        return torch.cat([w.detach().flatten() for w in latent])

    def approximations(self, w: Tensor) -> dict[str, float]:
        """The Laplace evidence at w by each curvature, nats."""
        kronecker = guides.KroneckerLaplace(self.model)
        diagonal = guides.DiagonalLaplace(self.model)
        for guide in (kronecker, diagonal):
            guide.after_training(self.x, self.y)
        hessian = torch.autograd.functional.hessian(lambda v: -self.log_joint(v), w)
        at = self.log_joint(w).item() + 0.5 * self.size * math.log(2 * math.pi)
        widths = [m.stddev.log().sum().item() for m in diagonal.posterior().weights.values()]
        return {
            "full": at - 0.5 * torch.logdet(hessian).item(),
            "KroneckerLaplace": kronecker.log_evidence(self.x, self.y),
            "DiagonalLaplace": at + sum(widths),
        }


def linear(seed: int) -> tuple[Problem, Callable]:
    """Three correlated inputs, two outputs with normal noise; the truth is a formula."""
    torch.manual_seed(seed)
    x = torch.randn(20, 3)
    x[:, 1] += x[:, 0]
    y = x @ torch.tensor([[1.0, -0.5, 0.25], [0.0, 2.0, 1.0]]).T + NOISE * torch.randn(20, 2)

    def truth(w: Tensor) -> float:
        covariance = PRIOR**2 * x @ x.T + NOISE**2 * torch.eye(20)
        outputs = torch.distributions.MultivariateNormal(torch.zeros(20), covariance)
        return outputs.log_prob(y.T).sum().item()

    return Problem(nn.Linear(3, 2, bias=False), x, y, NORMAL), truth


def logistic(seed: int, count: int) -> tuple[Problem, Callable]:
    """Two correlated inputs, binary labels; the truth by quadrature over two weights."""
    torch.manual_seed(seed)
    x = torch.randn(count, 2)
    x[:, 1] += x[:, 0]
    y = torch.bernoulli((x @ torch.tensor([1.0, -0.5])).sigmoid())[:, None]
    problem = Problem(nn.Linear(2, 1, bias=False), x, y, "bernoulli")

    def truth(w: Tensor) -> float:
        hessian = torch.autograd.functional.hessian(lambda v: -problem.log_joint(v), w)
        stddev = torch.linalg.inv(hessian).diagonal().max().sqrt().item()
        return by_quadrature(problem, w, 12 * stddev, 241)

    return problem, truth


def one_tanh_unit(seed: int) -> tuple[Problem, Callable]:
    """y = b tanh(a x) + noise: two modes, (a, b) and (-a, -b), of which Laplace sees one."""
    torch.manual_seed(seed)
    x = torch.randn(50, 1)
    y = 1.2 * (0.8 * x).tanh() + NOISE * torch.randn(50, 1)
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh(), nn.Linear(1, 1, bias=False))
    problem = Problem(net, x, y, NORMAL)
    return problem, lambda w: by_quadrature(problem, 0 * w, 5.0, 401) - math.log(2)


def by_quadrature(problem: Problem, at: Tensor, width: float, steps: int) -> float:
    """log of the integral of the joint density over two weights, by the trapezoidal rule.

    :param at: the middle of the square; `width`: half of its side.
    """
    axis = torch.linspace(-width, width, steps)
    grid = torch.cartesian_prod(axis, axis) + at
    values = torch.cat([torch.vmap(problem.log_joint)(part) for part in grid.split(5_000)])
    return (values.logsumexp(0) + 2 * math.log(2 * width / (steps - 1))).item()


def wine(seed: int, draws: int = 100_000) -> tuple[Problem, Callable]:
    """Softmax regression on scikit-learn's wines, 39 weights; the truth by importance sampling."""
    torch.manual_seed(seed)
    data = load_wine()
    x = torch.tensor(data.data)
    problem = Problem(
        nn.Linear(13, 3, bias=False), (x - x.mean(0)) / x.std(0), torch.tensor(data.target),
        "categorical",
    )  # fmt: skip

    def truth(w: Tensor) -> float:
        """Draws from Student's t of the Hessian's covariance, a little wider."""
        hessian = torch.autograd.functional.hessian(lambda v: -problem.log_joint(v), w)
        scale = WIDER * torch.linalg.cholesky(torch.linalg.inv(hessian))
        t = torch.distributions.StudentT(30.0)
        noise = t.sample((draws, len(w)))
        log_q = t.log_prob(noise).sum(1) - scale.diag().log().sum()
        points = (w + noise @ scale.T).split(1000)
        ratios = torch.cat([torch.vmap(problem.log_joint)(part) for part in points]) - log_q
        smoothed = psis(ratios)
        value, stderr = log_mean(smoothed.log_weights)
        print(f"importance sampling: k-hat {smoothed.khat:.2f}, standard error {stderr:.4f}")
        problem.about |= {"khat": smoothed.khat, "truth_stderr": stderr}
        return value

    return problem, truth


def evidences() -> list[dict]:
    """Part 1, one row for each kind of model: means over seeds of the truth and of the errors."""
    kinds: dict[str, Callable] = {
        "linear regression, 20 examples, 6 weights": linear,
        **{
            f"logistic regression, {count} examples, 2 weights": functools.partial(
                logistic, count=count
            )
            for count in LOGISTIC
        },
        "one tanh unit, 50 examples, 2 weights, one mode of two": one_tanh_unit,
        "softmax regression, 178 wines, 39 weights": wine,
    }
    rows = []
    for kind, make in kinds.items():
        found = []
        for seed in range(1 if make is wine else SEEDS):
            problem, truth = make(seed)
            w = problem.train()
            value = truth(w)
            errors = {k: v - value for k, v in problem.approximations(w).items()}
            found.append({"truth": value, **errors, **problem.about})
        rows.append({"model": kind, "seeds": found})
        print(kind, summary(found))
    return rows


def summary(found: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds."""
    result = {}
    for key in found[0]:
        values = torch.tensor([one[key] for one in found])
        spread = values.std().item() if len(values) > 1 else 0.0
        result[key] = (round(values.mean().item(), 4), round(spread, 4))
    return result


def digits(seed: int, scale: float, start: nn.Module | None = None) -> Problem:
    data = bitsback.load_data("digits").train
    torch.manual_seed(seed)
    net = start or nn.Sequential(nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 10))
    return Problem(net, pool(data.x), data.y, "categorical", scale)


def pool(x: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(x.double(), 2).flatten(1)


def scales(seed: int) -> dict:
    """Part 2, for one initialisation."""
    held_out = bitsback.load_data("digits").validation
    rows = []
    for scale in SCALES:
        problem = digits(seed, scale)
        problem.train(400, also_biases=True)
        with torch.no_grad():
            output = problem.net(pool(held_out.x))
        guide = guides.KroneckerLaplace(problem.model)
        diagonal = guides.DiagonalLaplace(problem.model)
        for one in (guide, diagonal):
            one.after_training(problem.x, problem.y)
        w = torch.cat([p.flatten() for p in problem.model.initial_weights().values()])
        widths = sum(m.stddev.log().sum() for m in diagonal.posterior().weights.values())
        at = problem.log_joint(w) + 0.5 * problem.size * math.log(2 * math.pi)
        rows.append(
            {
                "scale": scale,
                "KroneckerLaplace": guide.log_evidence(problem.x, problem.y),
                "DiagonalLaplace": (at + widths).item(),
                "validation_nll": nn.functional.cross_entropy(output, held_out.y).item(),
                "validation_error": 100 * (output.argmax(1) != held_out.y).double().mean().item(),
            }
        )
        print(seed, {key: round(value, 4) for key, value in rows[-1].items()})
    return {"seed": seed, "rows": rows, "alternating": alternate(seed)}


def alternate(seed: int, rounds: int = 6) -> list[float]:
    """`best_scale` and training in turn, from scale 1."""
    found, problem = [1.0], digits(seed, 1.0)
    for _ in range(rounds):
        problem.train(400, also_biases=True)
        guide = guides.KroneckerLaplace(problem.model)
        guide.after_training(problem.x)
        found.append(guide.best_scale())
        problem = digits(seed, found[-1], problem.net)
    print(seed, "scales in turn", [round(value, 4) for value in found])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    rows = evidences()
    chosen = [scales(seed) for seed in range(3)]
    if options.json:
        summaries = {row["model"]: summary(row["seeds"]) for row in rows}
        result = {
            **made_by(), "seeds": SEEDS, "prior_scale": PRIOR, "evidence": rows,
            "mean_and_stddev": summaries, "scales": chosen,
        }  # fmt: skip
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
