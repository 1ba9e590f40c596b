"""Which parameters are latent by default, and which networks are refused at once."""

import pytest
import torch
from bitsback.models import Gaussian
from bitsback.models.core.latent import fan_in, latent_names
from torch import nn
from torch.nn.utils import parametrizations, prune


class Free(nn.Module):
    """Parameters of its own: a matrix, a position table, a token, a gain; a norm over an image."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(6, 3))
        self.positions = nn.Parameter(torch.zeros(1, 5, 6))
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.norm = nn.LayerNorm((5, 6))


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (nn.Conv3d(1, 1, 1), ["weight"]),
        (nn.ConvTranspose2d(2, 3, 2), ["weight"]),
        (nn.Embedding(3, 1), ["weight"]),
        (nn.Bilinear(2, 3, 4), ["weight"]),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), ["in_proj_weight", "out_proj.weight"]),
        (
            nn.MultiheadAttention(4, 2, kdim=3, vdim=3),
            ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
        ),
        (
            nn.LSTM(2, 4, proj_size=3),
            ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"],
        ),
        (
            nn.GRU(1, 1, bidirectional=True),
            ["weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"],
        ),
        (nn.GRUCell(2, 1), ["weight_ih", "weight_hh"]),
        (parametrizations.weight_norm(nn.Linear(3, 2)), ["parametrizations.weight.original1"]),
        (parametrizations.spectral_norm(nn.Linear(3, 2)), ["parametrizations.weight.original"]),
        (prune.random_unstructured(nn.Linear(3, 1), "weight", 0.5), ["weight_orig"]),
        (Free(), ["matrix", "positions"]),
        (nn.Sequential(nn.PReLU(4), nn.BatchNorm2d(4), nn.Linear(4, 1)), ["2.weight"]),
    ],
)
def test_every_matrix_and_kernel(net, expected):
    assert list(latent_names(net, None)) == expected


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_the_old_weight_norm():
    assert list(latent_names(nn.utils.weight_norm(nn.Linear(3, 1)), None)) == ["weight_v"]


def test_frozen_weights_are_none_unless_named():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    assert list(latent_names(net, None)) == ["1.weight"]
    assert list(latent_names(net, ["0.weight"])) == ["0.weight"]
    with pytest.raises(ValueError, match=r"no compressible layer.*frozen ones"):
        latent_names(net.requires_grad_(False), None)


def test_terms_that_an_output_sums():
    assert fan_in(nn.Linear(7, 2), ["weight"]) == 7
    assert fan_in(nn.Conv2d(6, 4, 3, groups=2), ["weight"]) == 27
    assert fan_in(nn.ConvTranspose2d(6, 4, 4, 2, groups=2), ["weight"]) == 12
    assert fan_in(nn.Embedding(9, 5), ["weight"]) == 1
    words = nn.ModuleDict({"table": nn.Embedding(9, 5), "head": nn.Linear(5, 9)})
    words["head"].weight = words["table"].weight
    assert fan_in(words, ["table.weight", "head.weight"]) == 5


def broken(value: torch.Tensor, **options) -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2))
    net.register_parameter("extra", nn.Parameter(value, **options))
    return net


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: nn.LazyLinear(3), "'weight' has no shape yet: call the network once"),
        (lambda: nn.Linear(2, 2, device="meta"), "'weight' is on the meta device"),
        (lambda: nn.Sequential(nn.ReLU(), nn.Linear(0, 2)), r"'1.weight' has shape \(2, 0\)"),
        (lambda: broken(torch.zeros(2, 2).cfloat()), "'extra' is complex64"),
        (lambda: broken(torch.tensor([float("nan")])), "'extra' holds NaN or infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_networks_that_cannot_be_trained(net, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(net(), 5)


def test_whole_numbers_stay_as_they_are():
    net = broken(torch.ones(3, 3, dtype=torch.int8), requires_grad=False)
    model = Gaussian(net, 5)
    assert model.weight_names == ("0.weight",) and model.trained().extra.dtype == torch.int8
