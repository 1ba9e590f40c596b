"""`compress` on networks that take several tensors: to the file and back."""

import warnings

import pytest
import torch
from bitsback.common.examples import call, each
from bitsback.compression.compress import compress
from bitsback.compression.file import load
from bitsback.compression.verdict import WorseNetwork
from bitsback.graph import GraphNetwork
from bitsback.posterior import Posterior
from torch import nn

from .test_compress import digits_like, posterior_of


class Two(nn.Module):
    """Two inputs by position or by name, a BatchNorm in between."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(10, 12), nn.Linear(10, 12)
        self.norm, self.head = nn.BatchNorm1d(12), nn.Linear(12, 3)

    def forward(self, left, right):
        return self.head(self.norm(self.left(left) + self.right(right)).relu())


class Batch(Two):
    """One dictionary, as tokenizers make them, of which one entry is integer."""

    def forward(self, batch):
        return super().forward(batch["left"], batch["right"] * batch["mask"])


class Counting(Two):
    """Data-dependent control flow: no graph."""

    def forward(self, left, right):
        return super().forward(left, right) if left.sum() > -1e9 else right


NETWORKS = {
    "tuple": (Two, lambda x: (x[:, :10], x[:, 10:])),
    "named": (Two, lambda x: {"right": x[:, 10:], "left": x[:, :10]}),
    "dictionary": (
        Batch,
        lambda x: {
            "left": x[:, :10],
            "right": x[:, 10:],
            "mask": torch.ones(len(x), 1, dtype=torch.int64),
        },
    ),
    "untraced": (Counting, lambda x: (x[:, :10], x[:, 10:])),
}


def fitted(net: nn.Module, inputs, y) -> nn.Module:
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(call(net, inputs), y).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    torch.manual_seed(0)
    kind, split = NETWORKS[request.param]
    x, y = digits_like(count=300)
    inputs = split(x)
    return request.param, fitted(kind(), inputs, y), inputs, y


def small(net: nn.Module, inputs, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WorseNetwork)
        return compress(
            net, posterior_of(net), validation=(inputs, y), effort=1, margin_nll=0.1,
            margin_error=2.0, **options,
        )  # fmt: skip


@pytest.mark.parametrize("trains", [False, True])
def test_to_the_file_and_back(case, trains, tmp_path):
    name, net, inputs, y = case
    training = each(inputs, lambda tensor: tensor[:200]) if trains else None
    result = small(net, inputs, y, training=training, given=net)
    report = result.report
    assert report["within_margin"] and report["validation"]["examples"] == 300
    assert (report["batch_norm"] is not None) == trains
    assert (report["untraced"] is not None) == (name == "untraced")
    result.save(tmp_path / "net.bb")
    loaded = load(tmp_path / "net.bb", into=net if name == "untraced" else None)
    assert isinstance(loaded, GraphNetwork) == (name != "untraced")
    expected = call(result.network, inputs)
    assert torch.equal(call(loaded, inputs), expected)
    assert (expected.argmax(1) == y).float().mean() > 0.9


def test_the_traced_network_is_compressed_as_well(case):
    name, net, inputs, y = case
    if name != "untraced":
        traced = small(net, inputs, y).network
        again = small(traced, inputs, y, given=net)
        assert again.report["rise_over_given"] is not None


BAD = [
    ({"training": (torch.randn(5, 10),)}, r"validation inputs \(torch.float32 \(20, 10\), "),
    ({"training": (torch.randn(5, 10), torch.randn(4, 10))}, r"first axes of \[5, 4\]"),
    ({"training": (torch.randn(5, 10), torch.randn(5, 10).double())}, "of the same kind"),
    ({"training": (torch.randn(5, 10), torch.full((5, 10), torch.nan))}, "inputs hold NaN"),
    ({"training": (torch.randn(0, 10), torch.randn(0, 10))}, "of the same kind"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_inputs_of_another_kind_are_refused(options, message):
    x, y = torch.randn(20, 10), torch.randint(3, (20,))
    with pytest.raises(ValueError, match=message):
        compress(Two().eval(), Posterior({}), validation=((x, x), y), **options)
