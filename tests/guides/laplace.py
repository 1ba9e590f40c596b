"""A regression with exact answers, and exact curvatures, for the tests of KroneckerLaplace."""

import functools

import torch
from bitsback.guides import (
    KroneckerLaplace,
)
from bitsback.models import (
    Gaussian,
)
from bitsback.models.likelihoods import normal
from torch import nn
from torch.func import functional_call

F64 = torch.float64
NOISE, PRIOR = 0.5, 0.8
NORMAL = functools.partial(normal, scale=NOISE)


class Regression:
    """y ~ N(W x, NOISE^2) with two outputs, W ~ N(0, PRIOR^2), and the exact answers."""

    def __init__(self, scale: float = PRIOR) -> None:
        torch.manual_seed(1)
        self.x = torch.randn(20, 3)
        self.x[:, 1] += self.x[:, 0]
        self.y = self.x @ torch.tensor([[1.0, -0.5, 0.25], [0.0, 2.0, 1.0]]).T
        self.y += NOISE * torch.randn(20, 2)
        self.covariance = torch.linalg.inv(self.x.T @ self.x / NOISE**2 + torch.eye(3) / scale**2)
        net = nn.Linear(3, 2, bias=False)
        net.weight.data = self.y.T @ self.x @ self.covariance / NOISE**2
        self.model = Gaussian(net, num_data=20, likelihood=NORMAL, scale=scale)
        marginal = scale**2 * self.x @ self.x.T + NOISE**2 * torch.eye(20)
        outputs = torch.distributions.MultivariateNormal(torch.zeros(20), marginal)
        self.log_evidence = outputs.log_prob(self.y.T).sum().item()

    def guide(self) -> KroneckerLaplace:
        guide = KroneckerLaplace(self.model)
        guide.after_training(self.x)
        return guide


def precision_of(q) -> torch.Tensor:
    """Of a normal over a tensor, the matrix of the flattened tensor, from its density."""
    size = q.mean.numel()
    return torch.autograd.functional.hessian(lambda w: -q.log_prob(w), q.mean.detach()).reshape(
        size, size
    )


def fisher(net, likelihood, name, x) -> torch.Tensor:
    """Gauss-Newton of -log p(y | x, w), a sum over examples, in one weight: sum of J' L J."""
    weights = {k: v.detach() for k, v in net.named_parameters()}
    total = 0
    for one in x:
        output = net(one[None]).detach()
        y = likelihood(output).sample()
        size = output.numel()
        inner = torch.autograd.functional.hessian(
            lambda o, y=y: -likelihood(o).log_prob(y).sum(), output
        ).reshape(size, size)
        jacobian = torch.autograd.functional.jacobian(
            lambda w, one=one: functional_call(net, weights | {name: w}, one[None]), weights[name]
        ).reshape(size, -1)
        total = total + jacobian.T @ inner @ jacobian
    return total


def found(net, x, likelihood="categorical", prior=PRIOR, model=Gaussian, **options):
    if model is Gaussian:
        options["scale"] = prior
    guide = KroneckerLaplace(model(net, num_data=len(x), likelihood=likelihood, **options))
    guide.after_training(x)
    return guide
