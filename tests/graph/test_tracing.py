"""What `trace` takes, what it gives, and what it refuses."""

import contextlib
import copy
import logging
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from bitsback.graph import GraphNetwork, Untraceable, remove_units, trace
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import assert_same
from .networks import make


class Net(nn.Module):
    """A forward given as a function, with a layer to call."""

    def __init__(self, function, **modules) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(4, 3)
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


# --- What stays as it was ---
@pytest.mark.parametrize("training", [True, False])
def test_modes_are_restored(training):
    """On the paths that succeed and on those that fail, module by module."""
    for function in (lambda m, x: m.fc(x), lambda m, x: m.fc(x) if x.sum() > 0 else x):
        net = Net(function, drop=nn.Dropout(), norm=nn.BatchNorm1d(4)).train(training)
        net.drop.train(not training)
        before = [m.training for m in net.modules()]
        fast = torch.backends.mha.get_fastpath_enabled()
        with contextlib.suppress(Untraceable):
            assert not trace(net, X).training
        assert [m.training for m in net.modules()] == before
        assert torch.backends.mha.get_fastpath_enabled() == fast
        assert "forward" not in net.__dict__


def test_numbers_are_copied_and_flags_kept():
    net = Net(lambda m, x: m.fc(x))
    net.fc.bias.requires_grad_(False)
    network = trace(net, X)
    assert network.get_parameter("fc.weight").requires_grad
    assert not network.get_parameter("fc.bias").requires_grad
    with torch.no_grad():
        net.fc.weight.zero_()
    assert network.get_parameter("fc.weight").any()


def test_a_traced_network_is_returned_as_it_is():
    network = trace(Net(lambda m, x: m.fc(x)), X)
    assert trace(network, X) is network


# --- Numbers of other kinds ---
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    net = Net(lambda m, x: F.relu(m.fc(x))).to(dtype)
    network = trace(net, X.to(dtype))
    assert network(X.to(dtype)).dtype == dtype
    assert remove_units(network).network(X.to(dtype)).dtype == dtype


def test_meta_device():
    net = Net(lambda m, x: m.norm(F.relu(m.fc(x))), norm=nn.BatchNorm1d(3)).to("meta")
    network = trace(net, X)
    assert {t.device.type for t in network.state_dict().values()} == {"meta"}
    own = trace(Net(net.function, norm=nn.BatchNorm1d(3)), X)
    network.load_state_dict(own.state_dict(), assign=True)
    assert torch.equal(network.eval()(X), own(X))


# --- Inputs and outputs ---
Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Result:
    scores: Tensor
    hidden: Tensor | None = None


@pytest.mark.parametrize(
    ("make_output", "read"),
    [
        (lambda a, b: (a, b), lambda y: list(y)),
        (lambda a, b: [a, (b,)], lambda y: [y[0], y[1][0]]),
        (lambda a, b: {"a": a, "b": {"c": b}}, lambda y: [y["a"], y["b"]["c"]]),
        (lambda a, b: Pair(a, b), lambda y: [y["first"], y["second"]]),
        (lambda a, b: Result(a, b), lambda y: [y["scores"], y["hidden"]]),
        (lambda a, b: (a, None, b, 3), lambda y: [y[0], y[2]]),
    ],
)
def test_outputs(make_output, read):
    net = Net(lambda m, x: make_output(m.fc(x), x.sum(1)))
    y = trace(net, X)(X)
    assert_same(read(y), [net.fc(X), X.sum(1)])


def test_constants_among_outputs_stay():
    y = trace(Net(lambda m, x: (m.fc(x), None, 3)), X)(X)
    assert y[1:] == (None, 3)


def test_inputs_by_name_and_nested():
    def forward(m, x, *, mask=None, extra=()):
        y = m.fc(x * mask)
        for part in extra:
            y = y + part[:, :3]
        return y

    inputs = {"x": X, "mask": X > 0, "extra": (X, X * 2)}

    class Named(Net):
        def forward(self, x, mask=None, extra=()):
            return forward(self, x, mask=mask, extra=extra)

    net = Named(None)
    network = trace(net, inputs)
    assert_same(network(**inputs), net(**inputs))
    more = {"x": torch.randn(7, 4), "mask": torch.ones(7, 4, dtype=torch.bool)}
    more["extra"] = (torch.randn(7, 4), torch.randn(7, 4))
    assert_same(network(**more), net(**more))


def test_one_example_is_enough():
    network = trace(Net(lambda m, x: m.fc(x)), X[:1])
    for count in (1, 2, 5):
        assert network(torch.randn(count, 4)).shape == (count, 3)


def test_one_example_with_a_state():
    """Inputs that are no batch stay as they are."""
    net = Net(lambda m, x, table: m.fc(x) + table.sum())
    network = trace(net, (X[:1], torch.randn(2, 2)))
    table = torch.randn(2, 2)
    assert_same(network(X, table), net(X, table))


def test_an_output_that_depends_on_no_input():
    net = Net(lambda m, x: (m.fc(x), m.fc.weight.sum(1)))
    network = trace(net, X)
    assert_same(network(X), net(X))
    assert_same(remove_units(network).network(X), net(X))


def test_an_input_that_nothing_reads():
    network = trace(Net(lambda m, x, unused: m.fc(x)), (X, X))
    assert network(X, X).shape == (3, 3)


@pytest.mark.parametrize(
    ("args", "kwargs", "word"),
    [
        ((), {}, "takes 1 positional argument, as it was traced; got 0"),
        ((X, X), {}, "got 2 positional arguments"),
        ((X,), {"y": X}, "by name"),
        (([X],), {}, "takes 1 positional argument"),
        ((X.numpy(),), {}, "takes 1 positional argument"),
        ((X[:, :2],), {}, r"input 0 must be of shape \(batch, 4\), not \(3, 2\)"),
        ((X[0],), {}, r"input 0 must be of shape \(batch, 4\)"),
        ((X.long(),), {}, "input 0 must be float32, not torch.int64"),
    ],
)
def test_wrong_inputs(args, kwargs, word):
    network = trace(Net(lambda m, x: m.fc(x)), X)
    with pytest.raises(TypeError, match=word):
        network(*args, **kwargs)


@pytest.mark.parametrize("example", [(), {}, torch.tensor(1.0), torch.zeros(0, 4), "text"])
def test_wrong_examples(example):
    with pytest.raises(ValueError, match="the example must hold a tensor of at least one example"):
        trace(Net(lambda m, x: m.fc(x)), example)


# --- Constants and buffers ---
class Buffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("shift", torch.randn(3), persistent=False)
        self.register_buffer("unused", torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) + self.shift + torch.tensor([1.0, 2.0, 3.0])


def test_buffers_and_constants():
    net = Buffers()
    network = trace(net, X)
    assert_same(network(X), net(X))
    assert "unused" not in network.state_dict()
    other = copy.deepcopy(network)
    other.load_state_dict(network.state_dict())
    assert_same(other(X), net(X))


def test_nested_no_grad():
    """The graph trains through what the network did not."""

    def forward(m, x):
        with torch.no_grad():
            y = m.fc(x)
        return y * 2 + m.fc(x)

    net = Net(forward)
    assert_same(trace(net, X)(X), net(X))


# --- What is refused, in one line that names the place ---
class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("first line\nsecond line")


REFUSED = {
    "data-dependent": (lambda m, x: m.inner(x), "module 'inner', at `if x.sum"),
    "unknown operator": (lambda m, x: torch.fft.rfft(x).real, "operator fft_rfft.default of the"),
    "unknown inside": (lambda m, x: m.deep(x), "operator linalg_inv.* module 'deep.0'"),
    "fails": (lambda m, x: m.fails(x), "module 'fails'.*RuntimeError: first line"),
    "changes a buffer": (lambda m, x: m.counter(x), "changes .*buffer 'counter.calls'"),
    "random": (lambda m, x: x + torch.rand(4), "operator rand"),
    "drops in eval mode": (lambda m, x: F.dropout(x), "drops at random in eval mode"),
    "batch statistics": (
        lambda m, x: F.batch_norm(x, None, None, training=True), "statistics of its batch",
    ),
    "one batch size": (lambda m, x: x.view(3, 4) + torch.ones(3, 1), "one number of examples only"),
    "another shape for another batch": (lambda m, x: x + len(x) if len(x) < 3 else x, "examples"),
    "sizes of values": (lambda m, x: x[x > 0], "needs a size that depends on its inputs"),
    "a number out of values": (lambda m, x: x * x.sum().item(), "item"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, capfd, caplog):
    function, word = REFUSED[name]
    deep = nn.Sequential(Net(lambda m, x: torch.linalg.inv(x.mT @ x + torch.eye(4))))
    net = Net(function, inner=Inner(), deep=deep, fails=Fails(), counter=Counter())
    with caplog.at_level(logging.DEBUG), pytest.raises(Untraceable, match=word) as caught:
        trace(net, X)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert [r for r in caplog.records if r.name.startswith("torch")] == []


# --- Batches ---
def test_batch_on_another_axis():
    """Axis 0 may have any size; all others are fixed. So an LSTM takes its batch first."""
    net = Net(lambda m, x: m.mha(x, x, x)[0], mha=nn.MultiheadAttention(4, 2))
    x = torch.randn(6, 2, 4)
    network = trace(net, x)
    assert_same(network(x), net(x), 1e-5)
    longer = torch.randn(9, 2, 4)
    assert_same(network(longer), net(longer), 1e-5)
    with pytest.raises(TypeError, match=r"must be of shape \(batch, 2, 4\)"):
        network(torch.randn(6, 3, 4))
    with pytest.raises(Untraceable, match="one number of examples only"):
        trace(Net(lambda m, x: m.lstm(x)[0], lstm=nn.LSTM(4, 3)), x)


def test_one_tensor_as_two_inputs():
    """The same object twice in the example is two inputs all the same."""
    net = Net(lambda m, a, b: m.fc(a) - 2 * m.fc(b))
    network = trace(net, (X, X))
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    assert_same(network(a, b), net(a, b))


def test_sizes_of_the_batch_are_followed():
    """Means over the batch, shapes computed from it, factories of its size."""

    def forward(m, x):
        b = x.shape[0]
        y = x - x.mean(0, keepdim=True)
        y = y + torch.ones(b, 1).sum(0) / b + torch.arange(b)[:, None] / b
        return m.fc(y.reshape(b * 2, 2).reshape(-1, 4))

    net = Net(forward)
    network = trace(net, X)
    for count in (1, 4, 9):
        x = torch.randn(count, 4)
        assert_same(network(x), net(x), 1e-5)


@pytest.mark.parametrize("name", ["padded-resnet", "two-inputs"])
def test_the_reduced_network_is_traced_again(name):
    """It is a module like others, under export and torch.fx too."""
    net, x = make(name)
    network = remove_units(trace(net, x)).network
    inner = nn.Sequential(network) if not isinstance(x, tuple) else network
    args = x if isinstance(x, tuple) else (x,)
    again = torch.export.export(inner, args, strict=False).module()
    with torch.no_grad():
        assert_same(inner(*args), again(*args))
    if len(args) == 1:
        second = trace(inner, x)
        assert isinstance(second, GraphNetwork)
        assert second.graph.operators
        with torch.no_grad():
            assert_same(second(x), network(x))
