"""What `compress` refuses before any work, and data and posteriors of other kinds that it takes."""

import bitsback
import pytest
import torch
from bitsback.compression import refine
from bitsback.compression.describe import describe
from bitsback.compression.reference import check_tensors
from bitsback.posterior import Posterior, WeightPosterior
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore::bitsback.compression.verdict.WorseNetwork")

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
Y = X[:, :3].argmax(1)
WIDE = {"margin_nll": 9.0, "margin_error": 99.0, "clusters": 2}


def posterior(net: nn.Module, move=lambda tensor: tensor) -> Posterior:
    found = {}
    for name, value in net.named_parameters():
        if value.dim() > 1:
            loc, stddev = value.detach().clone(), torch.full_like(value, 0.1).detach()
            score = 2 * (stddev.log() - loc.abs().log())
            found[name] = WeightPosterior(*map(move, (loc, stddev, torch.ones(()), score)))
    return Posterior(found)


class Elsewhere(torch.Tensor):
    """A tensor that refuses numpy, as those of a GPU do."""

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert device type tensor to numpy")

    __array__ = numpy

    def cpu(self, *args, **kwargs):
        return self.as_subclass(torch.Tensor)


def test_a_posterior_of_another_device():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    here, there = (
        bitsback.compress(net, posterior(net, move), validation=(X, Y), **WIDE).data
        for move in (lambda t: t, lambda t: t.as_subclass(Elsewhere))
    )
    assert here == there


@pytest.fixture
def short_retraining(monkeypatch):
    monkeypatch.setattr(refine, "SURVIVOR_STEPS", 20)
    monkeypatch.setattr(refine, "CODEBOOK_STEPS", 20)


@pytest.mark.usefixtures("short_retraining")
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_off(context):
    net = nn.Linear(4, 3)
    options = {"validation": (X, Y), "training": X, "threshold": 3.0, **WIDE}
    outside = bitsback.compress(net, posterior(net), **options).data
    with context():
        assert bitsback.compress(net, posterior(net), **options).data == outside


@pytest.mark.parametrize(
    ("head", "likelihood"), [(nn.Softmax(1), "categorical"), (nn.Sigmoid(), "bernoulli")]
)
def test_probabilities_for_logits(head, likelihood):
    net = nn.Sequential(nn.Linear(4, 3), head)
    y = Y if likelihood == "categorical" else nn.functional.one_hot(Y, 3)
    with pytest.raises(ValueError, match=f"ends in {type(head).__name__}"):
        bitsback.compress(net, posterior(net), validation=(X, y), likelihood=likelihood)


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"recipe": 1}

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Extra(4, 3), "'_extra_state' is extra state of a module"),
        (lambda: nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 3)), r"'0.weight' has shape \(0, 4\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_what_no_file_holds(make, message):
    net = make()
    with pytest.raises(ValueError, match=message):
        bitsback.compress(net, posterior(net), validation=(X, Y))


@pytest.mark.usefixtures("short_retraining")
@pytest.mark.parametrize("classes", [-1, 1])
def test_a_label_for_each_position(classes):
    """Judged as they are trained: the NLL of an example is the sum over its positions."""
    x = torch.randn(40, 5, 4, generator=torch.Generator().manual_seed(2))
    y = x[..., :3].argmax(-1)
    net = nn.Linear(4, 3) if classes == -1 else nn.Conv1d(4, 3, 1)
    if classes == 1:
        x = x.transpose(1, 2).contiguous()
    result = bitsback.compress(net, posterior(net), validation=(x, y), training=x, **WIDE)
    with torch.no_grad():
        logits = result.network(x).movedim(classes, 1)
    said, nll = result.report["validation"], nn.functional.cross_entropy(logits, y, reduction="sum")
    assert said["error"] == pytest.approx(100 * (logits.argmax(1) != y).double().mean().item())
    assert said["nll"] == pytest.approx(nll.item() / 40, rel=1e-5)


def test_one_example_left_over():
    """1,025 of them, and a network that squeezes its output."""

    class Squeezed(nn.Linear):
        def forward(self, x):
            return super().forward(x).squeeze()

    x = torch.randn(1025, 4)
    net = Squeezed(4, 3)
    data = x, x[:, :3].argmax(1)
    assert bitsback.compress(net, posterior(net), validation=data, **WIDE).report["bytes"] > 0


def test_a_network_of_lower_precision_than_the_one_trained():
    model = bitsback.models.Gaussian(nn.Linear(4, 3).bfloat16(), num_data=60)
    guide = bitsback.guides.PointMass(model)
    data = X.bfloat16(), Y
    result = bitsback.compress(model.trained(), guide.posterior(), validation=data, **WIDE)
    assert result.network.weight.dtype == torch.float32


def of_dtype(dtype: torch.dtype) -> nn.Module:
    net = nn.Linear(4, 3)
    net.weight = nn.Parameter(torch.ones(3, 4, dtype=dtype))
    return net


@pytest.mark.parametrize(
    ("dtype", "match"),
    [
        (torch.bfloat16, r"'weight' is bfloat16; .* bool; call net.float\(\) first"),
        (
            torch.complex64,
            "'weight' is complex64; .* two real tensors, joined by torch.complex",
        ),
    ],
)
def test_numbers_that_no_file_holds(dtype, match):
    for refused in (check_tensors, describe):
        with pytest.raises(ValueError, match=match):
            refused(of_dtype(dtype))


def test_shrink_names_complex_weights_before_it_looks_at_inputs():
    with pytest.raises(ValueError, match="'weight' is complex64"):
        bitsback.shrink(of_dtype(torch.complex64), torch.randn(20, 4))
