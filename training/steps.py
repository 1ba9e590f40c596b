"""One optimisation step of a model/guide pair: eager, or captured once and compiled.

Both minimise kl_weight * KL - E_q[log p(y | x, w)] (nats for the whole data set) with the same Adam
over all parameters of model and guide. A step whose loss or gradient is not finite changes nothing.
"""

import itertools
from typing import NamedTuple

import pyro
import torch
from torch import Tensor, nn

from ..graph import GraphNetwork
from ..graph.table import OPERATORS
from ..guides.elbo import ELBO
from ..guides.noise import noise_from
from . import noise_library
from .allocator import keep_freed_memory

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Outcome(NamedTuple):
    """Of one step: the two terms in nats (KL unweighted), and whether all was finite."""

    expected_log_likelihood: Tensor
    kl: Tensor
    finite: Tensor


class Pair(nn.Module):
    """Model and guide as one module, so that their parameters are one list.

    Calling it gives the two terms of the bound, in nats for the whole data set.
    """

    def __init__(self, model: nn.Module, guide: nn.Module):
        super().__init__()
        if not isinstance(guide, nn.Module):
            raise ValueError(
                "fit() trains the parameters of modules, and this guide is none: train it with "
                "pyro.infer.SVI, which finds the parameters of functions"
            )
        self.model, self.guide = model, guide
        keep_freed_memory()

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        terms = ELBO().terms(self.model, self.guide, x, y)
        return terms.expected_log_likelihood, terms.total_kl

    def after_step(self, number: int) -> None:
        """What a guide of the zoo does after each step; others have no such hook."""
        getattr(self.guide, "after_step", lambda number: None)(number)

    def arithmetic(self) -> tuple:
        """What a captured step depends on beside parameters and buffers: see `models.Rate`."""
        return getattr(self.model, "arithmetic", tuple)()

    def after_epoch(self) -> None:
        """What a guide of the zoo does at the end of an epoch; others have no such hook."""
        getattr(self.guide, "after_epoch", lambda: None)()


class EagerStep:
    """The plain step: any model and guide, any device. Noise comes from torch's generators."""

    kind = "eager"

    def __init__(self, pair: Pair):
        self.pair = pair
        self.parameters = [p for p in pair.parameters() if p.requires_grad]
        fused = all(p.is_floating_point() for p in self.parameters)
        self.optimizer = torch.optim.Adam(self.parameters, betas=BETAS, eps=EPSILON, fused=fused)

    def __call__(self, x: Tensor, y: Tensor, seed: int, lr: float, kl_weight: float) -> Outcome:
        # What validation would find, NaN above all, is looked for below, and data were checked.
        with pyro.validation_enabled(False):
            log_likelihood, kl = self.pair(x, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss = kl_weight * kl - log_likelihood
        loss.backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norms = torch._foreach_norm(gradients)
        finite = torch.isfinite(torch.stack([loss.detach(), *norms]).sum())
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
        return Outcome(log_likelihood.detach(), kl.detach(), finite)

    def follow(self) -> None:
        """Called when the pair's arithmetic may have changed, which this step does not mind."""

    def state(self) -> dict:
        return self.optimizer.state_dict()

    def load_state(self, state: dict) -> None:
        self.optimizer.load_state_dict(state)


class CompiledStep:
    """The whole step, Pyro's handlers, gradients and Adam included, as one compiled graph.

    Pyro runs once, while the graph is captured; after that a step is one call. For a CPU with a
    C++ compiler, float32, batches of one size, and networks without buffers or noise of their own.
    """

    kind = "compiled"

    def __init__(self, pair: Pair, x: Tensor, y: Tensor):
        self.pair = pair
        named = {k: p for k, p in pair.named_parameters() if p.requires_grad}
        self.names = list(named)
        self.values = list(named.values())
        self.first = [torch.zeros_like(p) for p in self.values]
        self.second = [torch.zeros_like(p) for p in self.values]
        self.count = torch.zeros(())
        self._seed = torch.zeros((), dtype=torch.int64)
        self._lr, self._kl_weight = torch.zeros(()), torch.ones(())
        self._x, self._y = x.clone(), y.clone()
        self._arithmetic = pair.arithmetic()
        self._compiled = self._capture()

    def _arguments(self) -> tuple:
        return (
            [p.detach() for p in self.values], self.first, self.second, self.count,
            self._x, self._y, self._seed, self._lr, self._kl_weight,
        )  # fmt: skip

    def _capture(self):
        from torch.fx.experimental.proxy_tensor import make_fx

        with torch.no_grad():
            self.pair(self._x[:2], self._y[:2])  # whatever models find out at their first call
        changing = [v.detach() for v in (*self.values, *self.first, *self.second, self.count)]
        kept = [v.clone() for v in changing]
        try:
            # Validation looks at values, which a graph under construction does not have.
            with pyro.validation_enabled(False):
                # Not the bound method itself, whose `self` make_fx would count as an argument.
                # On fake tensors, so that no step's worth of memory is taken for it; buffers
                # of the model, which are constants of the graph, are real.
                graph = make_fx(
                    lambda *arguments: self._step(*arguments),
                    tracing_mode="fake",
                    _allow_non_fake_inputs=True,
                )(*self._arguments())
            compiled = torch.compile(graph)
            with torch.no_grad():
                compiled(*self._arguments())  # so that a compiler that fails does so here
        finally:
            for value, old in zip(changing, kept, strict=True):
                value.copy_(old)
        return compiled

    def _step(self, values, first, second, count, x, y, seed, lr, kl_weight):
        streams = itertools.count()

        def source(shape: torch.Size, like: Tensor) -> Tensor:
            return noise_library.standard_normal(seed, next(streams), list(shape))

        leaves = [v.detach().requires_grad_() for v in values]
        with noise_from(source):
            log_likelihood, kl = torch.func.functional_call(
                self.pair, dict(zip(self.names, leaves, strict=True)), (x, y)
            )
        loss = kl_weight * kl - log_likelihood
        gradients = torch.autograd.grad(loss, leaves)
        sums = [loss.detach(), *(g.sum() for g in gradients)]
        finite = torch.isfinite(torch.stack(sums).sum())
        count.add_(finite)
        taken = count.clamp(min=1)  # a first step that is not finite must not divide by zero
        rate = lr * finite / (1 - BETAS[0] ** taken)
        root = torch.sqrt(1 - BETAS[1] ** taken)
        for v, g, m, s in zip(values, gradients, first, second, strict=True):
            m.copy_(torch.where(finite, torch.lerp(g, m, BETAS[0]), m))
            s.copy_(torch.where(finite, BETAS[1] * s + (1 - BETAS[1]) * g * g, s))
            v.sub_(rate * m / (torch.sqrt(s) / root + EPSILON))
        return log_likelihood.detach(), kl.detach(), finite

    def __call__(self, x: Tensor, y: Tensor, seed: int, lr: float, kl_weight: float) -> Outcome:
        self._x.copy_(x)
        self._y.copy_(y)
        self._seed.fill_(seed)
        self._lr.fill_(lr)
        self._kl_weight.fill_(kl_weight)
        with torch.no_grad():
            return Outcome(*self._compiled(*self._arguments()))

    def follow(self) -> None:
        """Capture the step again if the pair's arithmetic has changed.

        :raises RuntimeError: if the new one cannot be compiled.
        """
        arithmetic = self.pair.arithmetic()
        if arithmetic == self._arithmetic:
            return
        try:
            self._compiled, self._arithmetic = self._capture(), arithmetic
        except Exception as error:  # of the compiler, as at the start
            raise RuntimeError(
                "units were removed, and the smaller step cannot be compiled; go on from the last "
                f"checkpoint with --compile no --force-resume ({type(error).__name__}: {error})"
            ) from error

    def state(self) -> dict:
        return {"first": self.first, "second": self.second, "count": self.count}

    def load_state(self, state: dict) -> None:
        for ours, theirs in zip(
            (*self.first, *self.second, self.count),
            (*state["first"], *state["second"], state["count"]),
            strict=True,
        ):
            ours.copy_(theirs)


def can_compile(pair: Pair, x: Tensor) -> str | None:
    """None if a compiled step would do; else what stands against it, in words."""
    if not isinstance(x, Tensor):
        return "the inputs are several tensors"
    if x.device.type != "cpu":
        return "the device is not a CPU"
    if not noise_library.available():
        return "no C++ compiler was found (set CXX, or install g++)"
    if any(p.dtype != torch.float32 for p in pair.parameters()):
        return "parameters are not float32"
    net = pair.model.get_submodule("net")
    if next(net.buffers(), None) is not None:
        return "the network has buffers that change in training (BatchNorm)"
    if any("Dropout" in type(module).__name__ for module in net.modules()) or _draws(net):
        return "the network draws noise of its own (Dropout)"
    return None


def _draws(net: nn.Module) -> bool:
    """Whether a traced network has an operator that draws noise in training."""
    return isinstance(net, GraphNetwork) and any(
        OPERATORS[node.operator].trains for node in net.graph.operators
    )
