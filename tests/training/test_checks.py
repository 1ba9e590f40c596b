"""The one look at network and data before a training's first step, and what `fit` then takes."""

import pytest
import torch
from bitsback.guides import MeanFieldNormal
from bitsback.models import Gaussian
from bitsback.training import Options, fit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
OPTIONS = Options(epochs=1, batch_size=20, lr=1e-3, step="eager")


def train(net, train, validation=None, num_data=60, **options):
    model = Gaussian(net, num_data, **options)
    return model, fit(
        model, MeanFieldNormal(model), train, validation=validation, options=OPTIONS
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "validation", "num_data", "message"),
    [
        ((X, Y), None, 3, "num_data is 3, but there are 60 training examples.*num_data=60"),
        (DataLoader(TensorDataset(X)), None, 60, "must give pairs"),
        ([X], None, 60, "must be a pair"),
        ((X, Y), (X[:0], Y[:0]), 60, "validation data: 0 inputs and 0 labels"),
        ((X, Y), (X, Y.float()), 60, "validation labels are float32"),
        ((X, Y.float() + 0.4), None, 60, "training labels are float32 and not whole"),
        ((X, Y[:, None]), None, 60, r"training labels have shape \(60, 1\)"),
    ],
)
def test_refused_before_the_first_step(data, validation, num_data, message):
    with pytest.raises(ValueError, match=message):
        train(nn.Linear(4, 3), data, validation, num_data)


def test_a_network_that_came_in_eval_mode():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()
    model, _ = train(net, (X, Y), (X, Y))
    assert model.net[1].num_batches_tracked == 3
    assert not model.net.training and not model.trained().training
    model = Gaussian(net, 60).eval()
    fit(model, MeanFieldNormal(model), (X, Y), options=OPTIONS)
    assert model.net[1].num_batches_tracked == 0


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"recipe": "delayed"}

    def set_extra_state(self, state):
        pass


def test_extra_state_is_no_number_to_look_at():
    train(Extra(4, 3), (X, Y))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_off(context):
    model = Gaussian(nn.Linear(4, 3), 60)
    guide = MeanFieldNormal(model)
    with context():
        fit(model, guide, (X.clone(), Y.clone()), options=OPTIONS)
    assert not guide.median()["weight"].equal(model.initial_weights()["weight"])


def test_parameters_that_can_never_be_trained():
    with torch.inference_mode():
        model = Gaussian(nn.Linear(4, 3), 60)
        with pytest.raises(ValueError, match=r"made inside torch.inference_mode\(\)"):
            fit(model, MeanFieldNormal(model), (X, Y), options=OPTIONS)


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, left, right):
        return self.dense(left + right)


@pytest.mark.parametrize("x", [(X, X), {"left": X, "right": X}], ids=["tuple", "dict"])
def test_several_inputs(x):
    _, history = train(Sum(), (x, Y), (x, Y))
    assert 0 <= history[0].validation_error <= 100


def test_several_outputs_have_no_validation_error():
    class Both(Sum):
        def forward(self, x):
            return (super().forward(x, x),)

    def likelihood(output):
        return torch.distributions.Categorical(logits=output[0])

    with pytest.raises(ValueError, match=r"gives a tuple.*leave validation out"):
        train(Both(), (X, Y), (X, Y), likelihood=likelihood)


def test_low_precision():
    train(nn.Sequential(nn.Linear(4, 3)).bfloat16(), (X.bfloat16(), Y), (X.bfloat16(), Y))


def test_the_error_of_labels_for_each_position():
    x = torch.randn(60, 4, 5)
    y = x[:, :3].argmax(1)
    _, history = train(nn.Conv1d(4, 3, 1), (x, y), (x, y))
    assert 0 <= history[0].validation_error <= 100
