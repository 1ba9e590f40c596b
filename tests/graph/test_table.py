"""Every row of the operator table against torch."""

import itertools

import pytest
import torch
from bitsback.graph import BY_NUMBER, OPERATORS, trace
from bitsback.graph.conversions import CONVERSIONS
from bitsback.graph.conversions_reduce import REDUCE_CONVERSIONS
from bitsback.graph.conversions_shape import SHAPE_CONVERSIONS
from bitsback.graph.converter import Converter
from bitsback.graph.operators import Family
from bitsback.graph.table import BY_ATEN
from torch import Tensor, nn

from .checks import assert_same
from .samples import SAMPLES, WITHOUT


def tensors_in(value) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in tensors_in(part)]
    return []


def full_arguments(name: str) -> dict:
    """A sample's arguments with the row's defaults, in order."""
    row, (given, _) = OPERATORS[name], SAMPLES[name]
    result = {}
    for argument in row.arguments:
        value = given.get(argument.name, argument.default)
        if argument.count and isinstance(value, tuple) and len(value) == 1:
            value = value * argument.count
        result[argument.name] = value
    return result


def results(name: str, arguments: dict) -> list[Tensor]:
    return tensors_in(OPERATORS[name].call(*arguments.values()))


def test_every_row_has_a_sample():
    assert SAMPLES.keys() | WITHOUT == OPERATORS.keys()
    assert not SAMPLES.keys() & WITHOUT


def test_numbers_and_names_are_unique():
    rows = list(OPERATORS.values())
    assert len(BY_NUMBER) == len(rows) == len({row.name for row in rows})
    names = [name for row in rows for name in row.aten]
    assert len(BY_ATEN) == len(names)


def test_aten_names_exist():
    for name in BY_ATEN:
        stem, _, overload = name.partition(".")
        assert overload in getattr(torch.ops.aten, stem).overloads(), name


def test_converted_names_exist():
    """A conversion whose name no operator of torch has is dead code."""
    for stem in {**CONVERSIONS, **SHAPE_CONVERSIONS, **REDUCE_CONVERSIONS}:
        assert hasattr(torch.ops.aten, stem), stem


@pytest.mark.parametrize("name", SAMPLES)
def test_call_is_torchs(name):
    """The row computes what torch computes under the name that users know."""
    arguments = full_arguments(name)
    found = results(name, arguments)
    for call in SAMPLES[name][1]:
        kind, call = call if isinstance(call, tuple) else ("", call)
        if kind == "scalar":
            continue
        expected = tensors_in(call(*tensors_in(tuple(SAMPLES[name][0].values()))))
        if [e.shape for e in expected] != [f.shape for f in found]:
            continue  # the call is another form of the row, at other shapes
        for a, b in zip(expected, found, strict=True):
            assert a.dtype == b.dtype
            assert torch.allclose(a, b, atol=1e-6, equal_nan=True)
        return
    raise AssertionError("no call of the sample has the row's results")


@pytest.mark.parametrize("name", SAMPLES)
def test_zero(name):
    """`zero`: of zeros the row makes zeros; without the trait it does not, at some arguments."""
    row, arguments = OPERATORS[name], full_arguments(name)
    if not row.zero:
        return

    def zeros(value):
        if isinstance(value, Tensor) and value.is_floating_point():
            return torch.zeros_like(value)
        return tuple(map(zeros, value)) if isinstance(value, tuple) else value

    for key, value in arguments.items():
        arguments[key] = zeros(value)
    if name not in ("gather", "index_select", "index", "scatter", "scatter_add", "index_put"):
        for key, value in arguments.items():
            if isinstance(value, Tensor) and not value.is_floating_point() and name != "pick":
                arguments[key] = torch.zeros_like(value)
    for result in results(name, arguments)[: 1 if row.name in ("sort",) else None]:
        assert not result.double().nan_to_num().any()


@pytest.mark.parametrize("name", [n for n in SAMPLES if OPERATORS[n].shifts])
def test_shifts(name):
    """`shifts`: f(x + c) is f(x) + f(c), inside of where pooling pads."""
    arguments = full_arguments(name)
    if "padding" in arguments:
        arguments["padding"] = tuple(0 for _ in arguments["padding"])

    def changed(change):
        def apply(value):
            if isinstance(value, Tensor):
                return change(value) if value.is_floating_point() else value
            return tuple(map(apply, value)) if isinstance(value, tuple) else value

        return results(name, {key: apply(value) for key, value in arguments.items()})

    both = changed(lambda x: x + 1.5)
    plain, constant = changed(lambda x: x), changed(lambda x: torch.full_like(x, 1.5))
    for a, b, c in zip(both, plain, constant, strict=True):
        assert torch.allclose(a, b + c, atol=1e-5)
        assert torch.equal(c, torch.full_like(c, 1.5))


@pytest.mark.parametrize("name", [n for n, row in OPERATORS.items() if row.family is Family.MOVE])
def test_moves_move(name):
    """Each number of the result is a number of the input."""
    if name == "pad":
        return
    arguments = full_arguments(name)
    numbers = torch.cat([t.flatten() for t in tensors_in(tuple(arguments.values()))])
    for result in results(name, arguments):
        assert torch.isin(result, numbers).all()


class Sample(nn.Module):
    """One call of torch on a sample's tensors: those of three examples are inputs, others buffers.

    :param inner: whether none is an input: rows that compute with weights alone.
    """

    def __init__(self, call, tensors: list[Tensor], inner: bool) -> None:
        super().__init__()
        self.call, self.inner = call, inner
        self.is_input = [not inner and t.dim() > 1 and len(t) == 3 for t in tensors]
        self.inputs = [t for t, given in zip(tensors, self.is_input, strict=True) if given]
        for i, tensor in enumerate(tensors):
            if not self.is_input[i]:
                self.register_buffer(f"t{i}", tensor.clone())

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        given = iter(inputs)
        tensors = [
            next(given) if is_input else getattr(self, f"t{i}")
            for i, is_input in enumerate(self.is_input)
        ]
        found = self.call(*(t * 1 for t in tensors) if self.inner else tensors)
        return tensors_in(found)


class Samples(nn.Module):
    """Several of them in one network, which is traced once."""

    def __init__(self, samples: list[Sample]) -> None:
        super().__init__()
        self.samples = nn.ModuleList(samples)

    def forward(self, *inputs: Tensor) -> list[list[Tensor]]:
        given = iter(inputs)
        return [s(*(next(given) for _ in s.inputs)) for s in self.samples]


TRACED = [
    (name, call[1] if isinstance(call, tuple) else call)
    for name in SAMPLES
    for call in SAMPLES[name][1]
    if not (isinstance(call, tuple) and call[0] == "untraced")
]
# Their first tensor is a weight, or all of their tensors have the size of the batch.
INNER = {"weight_norm", "embedding", "addmm", "index", "index_put"}
INNER |= {"lstm", "gru", "rnn_tanh", "rnn_relu"}
CHUNK = 30


@pytest.fixture(scope="module")
def traced() -> tuple[list[set[str]], set[str]]:
    """Of each call the rows that it is traced to; and all overloads that torch exported."""
    rows, overloads = [], set()
    translate = Converter._translate

    def spy(self, exported, name, arguments):
        overloads.add(name)
        translate(self, exported, name, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Converter, "_translate", spy)
        for start in range(0, len(TRACED), CHUNK):
            chunk = TRACED[start : start + CHUNK]
            samples = [
                Sample(call, tensors_in(tuple(SAMPLES[name][0].values())), name in INNER)
                for name, call in chunk
            ]
            inputs = [x for sample in samples for x in sample.inputs]
            network = trace(Samples(samples), inputs, fold=False)
            nodes = network.graph.operators
            rows += [
                {node.operator for node in nodes if node.scope == f"samples.{i}"}
                for i in range(len(chunk))
            ]
    return rows, overloads


@pytest.mark.parametrize("number", range(len(TRACED)), ids=lambda i: TRACED[i][0])
def test_is_traced(number, traced):
    """Each call of torch is traced to the row; what it gives is checked by `trace`."""
    assert TRACED[number][0] in traced[0][number]


def test_every_overload_is_exported(traced):
    """No name stands in the table that no call of torch leads to."""
    missing = " ".join(sorted(BY_ATEN.keys() - traced[1] - {"sym_size.int"}))
    assert missing == ""


def test_factories_and_sizes():
    """The rows that make constants, and those of sizes."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            b = x.shape[0]
            y = x + torch.full((b, 6), 2.0) + torch.arange(6) + torch.linspace(0, 1, 6)
            y = (y @ torch.eye(6))[torch.arange(b).flip(0)] + b
            return [y, *(torch.ones(n, 2) for n in (b * 2, b + 1, b - 1, b // 2 + 1, b % 2 + 1))]

    network = trace(Net(), torch.randn(3, 6), fold=False)
    used = {node.operator for node in network.graph.operators}
    assert used >= {"full", "arange", "linspace", "eye", "size"}
    assert used >= {"int_mul", "int_add", "int_floordiv", "int_mod"}
    x = torch.randn(7, 6)
    assert_same(network(x), Net()(x))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("int_add", lambda a, b: a + b),
        ("int_sub", lambda a, b: a - b),
        ("int_mul", lambda a, b: a * b),
        ("int_floordiv", lambda a, b: a // b),
        ("int_mod", lambda a, b: a % b),
    ],
)
def test_integers(name, function):
    for a, b in itertools.product((7, 4), (2, 3)):
        assert OPERATORS[name].call(a, b) == function(a, b)


def test_bind_refuses_what_does_not_fit():
    row = OPERATORS["softmax"]
    for given, word in (
        ({"input": 1.0, "dim": 1}, "input must be tensor"),
        ({"dim": 1}, "needs its argument 'input'"),
        ({"input": None, "dim": 1, "size": 2}, "has no argument 'size'"),
    ):
        with pytest.raises(ValueError, match=word):
            row.bind(given)
    with pytest.raises(ValueError, match="dtype must be dtype"):
        OPERATORS["full"].bind({"size": (2,), "value": 1, "dtype": "load"})
