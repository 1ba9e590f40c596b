"""Second moments of inputs against the Gauss-Newton matrix of each kind of layer, by autograd."""

import pytest
import torch
from bitsback.graph import as_matrix, from_matrix, input_moments, products, trace
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

F64 = torch.float64


class Holding(nn.Module):
    """A network of one parameter `w` and a function of it and the input."""

    def __init__(self, shape: tuple[int, ...], function) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(shape))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.w)


SIGNAL, IMAGE, VOLUME = (3, 4, 7), (3, 4, 6, 5), (2, 2, 3, 4, 3)
#: Layers whose output is linear in the weight, and the shape of their input.
LAYERS = {
    "linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "linear along a sequence": (lambda: nn.Linear(4, 3), (5, 2, 4)),
    "linear of many axes": (lambda: nn.Linear(4, 2), (3, 2, 3, 4)),
    "conv1d": (lambda: nn.Conv1d(4, 3, 3, stride=2, padding=2, dilation=2), SIGNAL),
    "conv1d same": (lambda: nn.Conv1d(4, 2, 4, padding="same", dilation=2), SIGNAL),
    "conv2d": (lambda: nn.Conv2d(4, 2, (3, 2), stride=(2, 1), padding=(1, 0)), IMAGE),
    "conv2d groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), IMAGE),
    "conv2d depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding=2), IMAGE),
    "conv2d circular": (lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), IMAGE),
    "conv2d reflect": (lambda: nn.Conv2d(4, 2, 3, padding=2, padding_mode="reflect"), IMAGE),
    "conv2d replicate": (lambda: nn.Conv2d(4, 2, 2, padding=1, padding_mode="replicate"), IMAGE),
    "conv3d": (lambda: nn.Conv3d(2, 2, (2, 3, 2), padding=(0, 1, 1), stride=(1, 2, 1)), VOLUME),
    "conv_transpose1d": (
        lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1), SIGNAL,
    ),
    "conv_transpose2d": (
        lambda: nn.ConvTranspose2d(4, 2, (3, 2), stride=(2, 3), padding=(2, 0), dilation=(2, 1)),
        (2, 4, 4, 3),
    ),
    "conv_transpose2d cropped": (lambda: nn.ConvTranspose2d(4, 2, 2, padding=2), (2, 4, 5, 5)),
    "conv_transpose2d groups": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), (2, 4, 3, 3),
    ),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=2), (2, 2, 2, 3, 2)),
    "x @ w": (lambda: Holding((4, 3), lambda x, w: x @ w), (3, 2, 4)),
    "w @ x": (lambda: Holding((3, 4), lambda x, w: w @ x), (3, 4, 2)),
    "addmm": (lambda: Holding((4, 3), lambda x, w: torch.addmm(torch.ones(3), x, w)), (5, 4)),
    "x @ w.T": (lambda: Holding((3, 4), lambda x, w: x @ w.T), (5, 4)),
    "F.linear of w.T": (lambda: Holding((4, 3), lambda x, w: F.linear(x, w.T)), (5, 4)),
    "convolution of an unsqueezed matrix": (
        lambda: Holding((3, 4), lambda x, w: F.conv1d(x, w[:, :, None])), SIGNAL,
    ),
    "bilinear": (
        lambda: Holding((2, 3, 3), lambda x, w: F.bilinear(x[..., :3], x[..., 1:], w)), (5, 4),
    ),
    "used twice": (
        lambda: Holding(
            (4, 4), lambda x, w: torch.cat([F.linear(x[:, 0], w), F.linear(x[:, 1], w)], 1)
        ),
        (3, 2, 4),
    ),
    "slices of rows": (
        lambda: Holding(
            (6, 4), lambda x, w: torch.cat([F.linear(x[:, 0], w[:4]), F.linear(x[:, 1], w[4:])], 1)
        ),
        (3, 2, 4),
    ),
    "slices and the whole": (
        lambda: Holding(
            (4, 4), lambda x, w: torch.cat([F.linear(x[:, 0], w[2:]), F.linear(x[:, 1], w)], 1)
        ),
        (3, 2, 4),
    ),
}  # fmt: skip


def hessian(net: nn.Module, name: str, x: Tensor) -> Tensor:
    """Of half the squared output, per example, in the flattened weight."""
    weights = {k: v.detach() for k, v in net.named_parameters()}

    def loss(weight: Tensor) -> Tensor:
        return functional_call(net, weights | {name: weight}, (x,)).square().sum() / (2 * len(x))

    size = weights[name].numel()
    return torch.autograd.functional.hessian(loss, weights[name]).reshape(size, size)


def factored(inputs: Tensor, shape: torch.Size, transposed: bool) -> Tensor:
    """The Hessian that moments stand for: A for each unit of each group, 0 elsewhere."""
    places = as_matrix(torch.arange(shape.numel()).reshape(shape), len(inputs), transposed)
    result = torch.zeros(shape.numel(), shape.numel(), dtype=inputs.dtype)
    for group, matrix in zip(places, inputs, strict=True):
        for unit in group:
            result[unit[:, None], unit] = matrix if matrix.dim() == 2 else matrix.diag()
    return result


def moments_of(net: nn.Module, x, batches=None):
    return input_moments(trace(net, x[:2], fold=False), batches or [x])


@pytest.mark.parametrize("kind", LAYERS)
def test_they_are_the_gauss_newton_matrix(kind, monkeypatch):
    monkeypatch.setattr(products, "LARGEST", 300)  # several blocks
    torch.set_default_dtype(F64)
    make, shape = LAYERS[kind]
    net, x = make(), torch.randn(shape)
    name = "w" if isinstance(net, Holding) else "weight"
    found = moments_of(net, x, [x[:1], x[1:]])
    assert not found.missing and found.examples == len(x)
    moments, weight = found.weights[name], net.get_parameter(name)
    expected = hessian(net, name, x)
    result = factored(moments.inputs, weight.shape, moments.transposed)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 3), (4, 3, 2, 2), (2, 2, 1, 2, 3)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_go_back(shape, groups, transposed):
    weight = torch.randn(shape)
    matrix = as_matrix(weight, groups, transposed)
    assert matrix.dim() == 3 and len(matrix) == groups
    assert matrix.shape[1] == (shape[1] if transposed else shape[0] // groups)
    assert torch.equal(from_matrix(matrix, weight.shape, transposed), weight)


def test_an_embedding_has_counts():
    x = torch.tensor([[0, 1, 1], [1, 3, 0]])
    moments = moments_of(nn.Embedding(5, 2), x).weights["weight"]
    assert moments.transposed
    torch.testing.assert_close(moments.inputs, torch.tensor([[1.0, 1.5, 0, 0.5, 0]]))


def test_what_all_examples_share_counts_for_each():
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.map = nn.Embedding(3, 2), nn.Linear(2, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.map(self.table(torch.arange(3)))

    net, x = Positions(), torch.randn(4, 3, 2)
    found = input_moments(trace(net, x, fold=False), [x[:3], x[3:]]).weights
    torch.testing.assert_close(found["table.weight"].inputs, torch.ones(1, 3))
    rows = net.table.weight.detach()
    torch.testing.assert_close(found["map.weight"].inputs, (rows.T @ rows)[None])


def test_a_tied_embedding_adds_its_mean_count():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.table(x).tanh(), self.table.weight)

    net, x = Tied(), torch.tensor([[0, 1], [1, 4], [2, 2]])
    found = moments_of(net, x).weights["table.weight"]
    assert not found.transposed
    rows = net.table(x).tanh().detach().flatten(0, 1)
    expected = rows.T @ rows / 3 + 6 / (5 * 3) * torch.eye(3)
    torch.testing.assert_close(found.inputs, expected[None])


RECURRENT = {
    "lstm": (nn.LSTM, nn.LSTMCell),
    "gru": (nn.GRU, nn.GRUCell),
    "rnn": (nn.RNN, nn.RNNCell),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_have_inputs_and_states(kind, batch_first):
    layer, cell = RECURRENT[kind]
    net, one = layer(3, 4, num_layers=2, batch_first=True), cell(3, 4)
    x = torch.randn(5, 6, 3)
    if not batch_first:

        class TimeFirst(nn.Module):
            def __init__(self, inner) -> None:
                super().__init__()
                self.inner = inner
                inner.batch_first = False

            def forward(self, x: Tensor) -> Tensor:
                return self.inner(x.transpose(0, 1))[0]

        wrapped, prefix = TimeFirst(net), "inner."
    else:
        wrapped, prefix = net, ""
    found = moments_of(wrapped, x).weights
    assert len(found) == 4
    for leaf in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(one, leaf).data = getattr(net, f"{leaf}_l0").data
    state, before = None, []
    for step in x.unbind(1):
        hidden = state[0] if isinstance(state, tuple) else state
        before.append(torch.zeros(5, 4) if hidden is None else hidden)
        state = one(step, state)
    vectors = torch.cat(before).detach()
    loops = found[f"{prefix}weight_hh_l0"].inputs[0]
    torch.testing.assert_close(loops, vectors.T @ vectors / 5)
    rows = x.flatten(0, 1)
    torch.testing.assert_close(found[f"{prefix}weight_ih_l0"].inputs[0], rows.T @ rows / 5)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.attention(x, context, context, need_weights=False)[0]


def test_attention_has_a_group_for_each_projection():
    net, x, context = Attending(), torch.randn(3, 5, 4), torch.randn(3, 2, 4)
    network = trace(net, (x, context))
    found = input_moments(network, [(x, context)]).weights
    queries, keys = x.flatten(0, 1), context.flatten(0, 1)
    expected = [m.T @ m / 3 for m in (queries, keys, keys)]
    result = found["attention.in_proj_weight"]
    torch.testing.assert_close(result.inputs, torch.stack(expected))
    assert "attention.out_proj.weight" in found


def test_what_has_no_matrix_is_named_with_its_operator():
    class Adding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.map = nn.Parameter(torch.ones(3, 4)), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.map(x * self.scale)

    found = moments_of(Adding(), torch.randn(5, 3, 4))
    assert list(found.weights) == ["map.weight"]
    assert found.missing == {"scale": "mul does not use it as a matrix"}


def test_layers_that_share_a_weight_otherwise_have_no_matrix():
    net = Holding((4, 4), lambda x, w: F.linear(x, w) + F.linear(x, w.T))
    found = moments_of(net, torch.randn(5, 4))
    assert not found.weights and "several matrices" in found.missing["w"]
    net = Holding((3, 4, 4), lambda x, w: x @ w)  # one matrix for each head
    assert list(moments_of(net, torch.randn(5, 3, 2, 4)).missing) == ["w"]


def test_some_weights_alone_and_the_run_ends_there():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.randn(6, 4)
    network = trace(net, x)
    network.get_parameter("2.weight").data.fill_(torch.nan)  # behind the one that is asked for
    found = input_moments(network, [x], ["0.weight"])
    assert list(found.weights) == ["0.weight"] and not found.missing


def test_float32_sums_are_those_of_float64():
    x = torch.randn(4_000, 300)
    moments = moments_of(nn.Linear(300, 2), x).weights["weight"].inputs
    assert moments.dtype == torch.float32
    expected = x.double().T @ x.double() / len(x)
    torch.testing.assert_close(moments[0].double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(moments, moments.mT)


def test_bad_inputs_are_refused():
    x = torch.randn(5, 4)
    network = trace(nn.Linear(4, 3), x)
    with pytest.raises(ValueError, match=r"calibration inputs: input 0 must be of shape .* 4\)"):
        input_moments(network, [torch.randn(5, 3)])
    with pytest.raises(ValueError, match="no calibration inputs"):
        input_moments(network, [])
    with pytest.raises(ValueError, match="at least one example"):
        input_moments(network, [torch.randn(0, 4)])
    with pytest.raises(ValueError, match="'weight' is multiplied by NaN or infinity"):
        input_moments(network, [torch.full((2, 4), torch.nan)])
    with pytest.raises(ValueError, match="'weights' is no parameter"):
        input_moments(network, [x], ["weights"])
