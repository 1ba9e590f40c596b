"""Functions that torch exports under names that are no row as they are, or must say by others."""

import pytest
import torch
from bitsback.graph import Untraceable, trace
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import assert_same


class Many(nn.Module):
    """Many functions of one input."""

    def __init__(self, functions, *modules: nn.Module) -> None:
        super().__init__()
        self.functions, self.inner = functions, nn.ModuleList(modules)

    def forward(self, x: Tensor):
        return [f(x, *self.inner) for f in self.functions]


def check(x: Tensor, functions, *modules: nn.Module) -> None:
    net = Many(functions, *modules).eval()
    network = trace(net, x, fold=False)
    other = torch.cat([x, x.flip(0), x])[:5]
    with torch.no_grad():
        assert_same(network(other), net(other), 1e-4)


V, M = torch.randn(3, 6), torch.randn(3, 5, 6)
IMAGE, SIGNAL = torch.randn(3, 4, 6, 6), torch.randn(3, 4, 6)


def test_shapes():
    check(
        M,
        [
            lambda x: x.adjoint(),
            lambda x: x.moveaxis(1, -1),
            lambda x: x.movedim((1, 2), (2, 1)),
            lambda x: x.swapdims(1, 2),
            lambda x: x.swapaxes(1, 2),
            lambda x: x.mT,
            lambda x: x[0].ravel(),
            lambda x: x.reshape_as(x[:, None]),
            lambda x: x.flatten(1).view_as(x[:, 0].repeat(1, 5)),
            lambda x: x.unsafe_chunk(2, 1)[0],
            lambda x: x.chunk(3, 2)[1],
            lambda x: x.unflatten(2, (2, 3)),
            lambda x: x.flatten(1).T,
            lambda x: x[..., None].squeeze(),
            lambda x: x[:, -1],
            lambda x: x[:, ::2],
            lambda x: x[:, None, 1:],
            lambda x: x[:, :-1],
            lambda x: x.narrow(1, -2, 2),
            lambda x: x[:, [0, 3]],
            lambda x: x[:, torch.tensor([[0, 1], [2, 0]])],
            lambda x: x[torch.arange(x.shape[0]), 1],
            lambda x: x[:, :, torch.tensor([0, 2])],
            lambda x: x.expand_as(torch.stack([x, x])),
            lambda x: torch.tile(x, (1, 2)),
            lambda x: torch.hstack([x, x]),
            lambda x: torch.dstack([x, x]),
            lambda x: torch.atleast_3d(x[:, 0]),
            lambda x: torch.rot90(x, 1, (1, 2)),
            lambda x: x.diff(dim=1),
            lambda x: torch.meshgrid(x[0, 0], x[0, 1], indexing="ij")[0],
            lambda x: x.index_select(2, torch.tensor([1])),
            lambda x: x.gather(2, x.argsort(2)),
        ],
    )


def test_numbers():
    check(
        V,
        [
            lambda x: torch.add(x, x, alpha=3) - torch.sub(x, 2, alpha=2),
            lambda x: torch.rsub(x, 1),
            lambda x: torch.rsub(x, x, alpha=2),
            lambda x: 1 / (x * x + 1),
            lambda x: 2 - x,
            lambda x: 2**x,
            lambda x: x**2,
            lambda x: torch.div(x, 0.3, rounding_mode="trunc"),
            lambda x: x // 0.3,
            lambda x: torch.clamp(x, min=x.mean(), max=x.abs()),
            lambda x: torch.clamp(x, x.mean()),
            lambda x: x.masked_fill(x > 0, -1e9),
            lambda x: x.masked_fill(x > 0, x.mean()),
            lambda x: x.where(x > 0, torch.zeros(())),
            lambda x: x.to(torch.bfloat16).float(),
            lambda x: torch.tensor([1, 2]).type_as(x).sum() + x,
            lambda x: x.to(x.dtype, copy=True) + x.clone(),
            lambda x: x + x.new_zeros(x.shape) + torch.ones_like(x) + x.new_full((6,), 2.0),
            lambda x: torch.full_like(x, 2) + x.new_ones(6) + torch.zeros_like(x),
            lambda x: x.detach() + +x,
            lambda x: x.contiguous() + torch.tensor(2.0),
            lambda x: F.softsign(x) + F.tanhshrink(x),
            lambda x: torch.xlogy(x, x.abs()) + torch.sinc(x),
            lambda x: torch.isfinite(x),
            lambda x: x.sgn(),
            lambda x: torch.heaviside(x, torch.ones(())),
            lambda x: F.rrelu(x, training=False),
            lambda x: F.elu(x, 0.4),
            lambda x: torch.linspace(0, 1, 6) + torch.eye(6)[0] + torch.arange(0, 3, 0.5) + x,
            lambda x: torch.eye(3, 6)[1] + x,
            lambda x: torch.triu(torch.ones(6, 6), 1)[0] + x,
            lambda x: (x > 0) & (x < 1) | (x > 2),
            lambda x: F.one_hot((x > 0).long(), 2),
            lambda x: ~(x > 0),
            lambda x: torch.scalar_tensor(2.0) * x,
        ],
    )


def test_reductions():
    check(
        M,
        [
            lambda x: x.max(),
            lambda x: x.min(),
            lambda x: x.max(1)[0],
            lambda x: torch.max(x, x.flip(1)),
            lambda x: x.mean(dtype=torch.float64),
            lambda x: x.sum((1, 2)),
            lambda x: x.sum(),
            lambda x: x.prod(1),
            lambda x: x.std(-1, keepdim=True),
            lambda x: x.var(-1, unbiased=False),
            lambda x: x.std(),
            lambda x: sum(torch.std_mean(x, 1)),
            lambda x: torch.var_mean(x, 1)[0],
            lambda x: x.norm(dim=-1),
            lambda x: torch.norm(x, p=1, dim=1),
            lambda x: torch.linalg.norm(x, dim=2),
            lambda x: x.logsumexp(2),
            lambda x: (x > 0).any(1),
            lambda x: (x > 0).all(),
            lambda x: x.softmax(-1, dtype=torch.float64),
            lambda x: F.softmin(x, 1),
            lambda x: x.log_softmax(2),
            lambda x: x.cumsum(1, dtype=torch.float64),
            lambda x: F.normalize(x, dim=-1),
            lambda x: F.cosine_similarity(x, x.flip(1), -1),
            lambda x: x.cumprod(1),
            lambda x: F.pairwise_distance(x, x.flip(1)),
            lambda x: x.argsort(-1, descending=True),
            lambda x: x.topk(2)[0],
            lambda x: torch.linalg.vecdot(x, x),
            lambda x: torch.linalg.matmul(x, x.mT),
            lambda x: torch.mv(x[0], x[0, 0]),
        ],
    )


def test_windows():
    check(
        IMAGE,
        [
            lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
            lambda x: F.avg_pool2d(x, 4, ceil_mode=True),
            lambda x: F.adaptive_max_pool2d(x, 2),
            lambda x: F.interpolate(x, scale_factor=2),
            lambda x: F.interpolate(x, size=(9, 9), mode="bilinear"),
            lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
            lambda x: F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True),
            lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
            lambda x: F.interpolate(x, scale_factor=0.5, mode="area"),
            lambda x: F.lp_pool2d(x, 2, 2),
            lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
            lambda x: F.pad(x, (1, 2), value=3.5),
            lambda x: F.local_response_norm(x, 3),
            lambda x: F.channel_shuffle(x, 2),
            lambda x: F.instance_norm(x),
            lambda x: F.interpolate(x[:, None], scale_factor=(1, 2, 2)),
            lambda x: F.interpolate(x[:, None], size=(4, 3, 3), mode="trilinear"),
            lambda x: F.max_pool3d(x[:, None], 2, return_indices=True)[0],
            lambda x: F.interpolate(x[:, None], size=(4, 3, 3), mode="nearest-exact"),
        ],
    )
    check(
        SIGNAL,
        [
            lambda x: F.interpolate(x, scale_factor=2),
            lambda x: F.interpolate(x, scale_factor=2, mode="linear"),
            lambda x: F.max_pool1d(x, 2, return_indices=True)[0],
            lambda x: F.interpolate(x, 9, mode="nearest-exact"),
            lambda x: F.max_pool1d(x[:, 0], 2),
            lambda x: F.adaptive_avg_pool1d(x[:, 0], 2),
        ],
    )


MODULES = {
    "rnn cell": (nn.RNNCell(6, 4), V),
    "gru cell": (nn.GRUCell(6, 4), V),
    "tracked instance norm": (nn.InstanceNorm2d(4, track_running_stats=True), IMAGE),
    "dropouts": (nn.Sequential(nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()), IMAGE),
    "softmax2d": (nn.Softmax2d(), IMAGE),
    "unflatten": (nn.Unflatten(1, (2, 3)), V),
    "glu": (nn.GLU(1), IMAGE),
    "encoder": (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), M),
    "same padding": (nn.Conv1d(4, 3, 2, padding="same"), SIGNAL),
    "valid padding": (nn.Conv1d(4, 3, 2, padding="valid"), SIGNAL),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    module, x = MODULES[name]
    check(x, [lambda x, m: m(x)], module)


def test_addmm_of_a_layer():
    check(V, [lambda x, m: torch.addmm(m.bias, x, m.weight.t()), lambda x, m: x @ m.weight.T],
          nn.Linear(6, 3))  # fmt: skip


def test_an_lstm_of_projected_states_is_refused():
    net = nn.LSTM(3, 4, num_layers=2, proj_size=2, batch_first=True)
    with pytest.raises(Untraceable, match="proj_size is not in the table"):
        trace(net, torch.randn(2, 5, 3))
