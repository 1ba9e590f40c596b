"""Eager and compiled steps: the same mathematics, and nothing changes in a step that fails."""

import copy
import itertools

import pytest
import torch
from bitsback.guides.noise import noise_from
from bitsback.training import noise_library
from bitsback.training.steps import CompiledStep, EagerStep, Pair, can_compile
from torch import nn

from .nets import data, pair, plain, same, state, with_noise_and_buffers

# torch.compile's own imports, in torch 2.13.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
needs_compiler = pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")


def eager_with_the_same_noise(step: EagerStep):
    """An eager step whose noise is the compiled step's."""

    def call(x, y, seed, lr, kl_weight):
        streams = itertools.count()

        def source(shape, like):
            values = noise_library.standard_normal(torch.tensor(seed), next(streams), list(shape))
            return values.to(like.dtype)

        with noise_from(source):
            return step(x, y, seed, lr, kl_weight)

    return call


def conv() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    )


MIXTURES = ("scale-mixture", "soft-sharing", "log-uniform-mixture")
CASES = [(plain, "log-uniform"), (conv, "log-uniform"), *((plain, name) for name in MIXTURES)]


@needs_compiler
@pytest.mark.parametrize(
    ("net", "method"), [CASES[0], *(pytest.param(*c, marks=pytest.mark.slow) for c in CASES[1:])]
)
def test_compiled_and_eager_agree(net, method):
    """After the first step and after the twentieth, with learning rate and KL weight changing.

    In float64 eagerly too: the two float32 runs may differ by no more than their rounding.
    """
    x, y = data()
    runs = {}
    for kind in ("eager", "exact", "compiled"):
        model, guide = pair(net(), method)
        if kind == "exact":
            model, guide = model.double(), guide.double()
        both = Pair(model, guide)
        inputs = x.double() if kind == "exact" else x
        step = CompiledStep(both, x, y) if kind == "compiled" else None
        step = step or eager_with_the_same_noise(EagerStep(both))
        runs[kind] = []
        for i in range(20):
            outcome = step(inputs, y, 2**40 + i, 1e-2 * (1 - i / 20), min(1.0, i / 10))
            assert outcome.finite
            # At a precision's mode its gradient is 0 but for rounding, whose sign Adam follows.
            kept = {k: v for k, v in state(model, guide).items() if "log_precision" not in k}
            values = [v.double().flatten() for v in kept.values()]
            values += [outcome.expected_log_likelihood.reshape(1), outcome.kl.reshape(1)]
            runs[kind].append(torch.cat(values))
    for i, tolerance in ((0, 1e-5), (19, 1e-4)):
        assert torch.allclose(runs["compiled"][i], runs["exact"][i], tolerance, tolerance), i
        assert torch.allclose(runs["compiled"][i], runs["eager"][i], tolerance, tolerance), i
    moved = (runs["eager"][19] - runs["eager"][0]).abs().max()
    assert moved > 0.05


def test_the_eager_step_is_adam():
    """Against torch's own loop on the same loss with a point guide: no noise."""
    x, y = data()
    model, guide = pair(method="deterministic")
    step = EagerStep(Pair(model, guide))
    theirs, their_guide = pair(method="deterministic")
    reference = Pair(theirs, their_guide)
    adam = torch.optim.Adam(reference.parameters(), betas=(0.9, 0.999), eps=1e-8)
    for i in range(5):
        lr, weight = 0.01 / (i + 1), 0.2 * i
        step(x, y, 0, lr, weight)
        adam.param_groups[0]["lr"] = lr
        adam.zero_grad()
        log_likelihood, kl = reference(x, y)
        (weight * kl - log_likelihood).backward()
        adam.step()
    ours = state(model, guide)
    for key, value in state(theirs, their_guide).items():
        assert torch.allclose(ours[key], value, 1e-5, 1e-6), key


def make(kind: str, model, guide):
    x, y = data()
    both = Pair(model, guide)
    return EagerStep(both) if kind == "eager" else CompiledStep(both, x, y)


BOTH = ["eager", pytest.param("compiled", marks=needs_compiler)]
SLOW = ["eager", pytest.param("compiled", marks=[needs_compiler, pytest.mark.slow])]


@pytest.mark.parametrize("kind", BOTH)
def test_a_step_that_is_not_finite_changes_nothing(kind):
    x, y = data()
    model, guide = pair()
    step = make(kind, model, guide)
    bad = x.clone()
    bad[3, 2] = float("inf")
    for first in (True, False):
        before, moments = state(model, guide), repr(step.state())
        assert not step(bad, y, 1, 0.1, 1.0).finite
        assert same(state(model, guide), before)
        assert first or repr(step.state()) == moments
        assert step(x, y, 2, 0.1, 1.0).finite
        assert not same(state(model, guide), before)


@pytest.mark.parametrize("kind", SLOW)
def test_a_gradient_alone_that_is_not_finite_is_seen(kind):
    """The loss is finite; sqrt has an infinite slope at 0."""

    class Root(nn.Module):
        def forward(self, x):
            return torch.sqrt(x.clamp(min=0.0) * 0.0 + self.zero) * 0.0 + x

        def __init__(self):
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

    x, y = data()
    model, guide = pair(nn.Sequential(plain(), Root()))
    step = make(kind, model, guide)
    before = state(model, guide)
    outcome = step(x, y, 1, 0.1, 1.0)
    assert torch.isfinite(outcome.expected_log_likelihood) and torch.isfinite(outcome.kl)
    assert not outcome.finite
    assert same(state(model, guide), before)


@pytest.mark.parametrize("kind", BOTH)
def test_saved_state_goes_on_bit_for_bit(kind):
    x, y = data()

    def go(step, first, last):
        for i in range(first, last):
            torch.manual_seed(i)  # the eager step's noise
            step(x, y, i, 0.02, 1.0)

    model, guide = pair()
    step = make(kind, model, guide)
    go(step, 0, 3)
    modules, optimizer = Pair(model, guide).state_dict(), copy.deepcopy(step.state())
    other_model, other_guide = pair()
    other = make(kind, other_model, other_guide)
    Pair(other_model, other_guide).load_state_dict(modules)
    other.load_state(optimizer)
    for each in (step, other):
        go(each, 3, 6)
    assert same(state(model, guide), state(other_model, other_guide))


@needs_compiler
def test_making_a_compiled_step_moves_nothing():
    model, guide = pair()
    before = state(model, guide)
    step = make("compiled", model, guide)
    assert same(state(model, guide), before)
    assert step.count == 0 and not any(m.any() for m in (*step.first, *step.second))


@needs_compiler
@pytest.mark.parametrize(
    ("net", "obstacle"),
    [
        (plain, None),
        (with_noise_and_buffers, "buffers"),
        (lambda: nn.Sequential(nn.Dropout(0.1), plain()), "Dropout"),
        (lambda: plain().double(), "float32"),
    ],
    ids=["plain", "batchnorm", "dropout", "float64"],
)
def test_what_cannot_be_compiled(net, obstacle):
    found = can_compile(Pair(*pair(net())), data()[0])
    assert found is None if obstacle is None else obstacle in found


def test_other_devices_are_not_compiled_for():
    assert "CPU" in can_compile(Pair(*pair()), torch.empty(2, 6, device="meta"))


def test_no_compiler_is_an_obstacle(monkeypatch):
    monkeypatch.setattr(noise_library, "available", lambda: False)
    assert "set CXX, or install g++" in can_compile(Pair(*pair()), data()[0])
