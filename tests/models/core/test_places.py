"""Installed weights reach the computation of every kind of layer, and their gradients come back."""

import pytest
import torch
from bitsback.guides import ELBO, MeanFieldNormal
from bitsback.models import Gaussian
from torch import nn
from torch.nn.utils import parametrizations, prune

TOKENS = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [1, 1, 0, 5]])


class Reader(nn.Module):
    """An embedding, a body over sequences, and a head on its mean."""

    def __init__(self, body: nn.Module, width: int = 6):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(8, 6), body, nn.Linear(width, 3)

    def forward(self, tokens):
        hidden = self.body(self.embed(tokens))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.head(hidden.mean(1))


class Attention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)


def pruned() -> nn.Linear:
    layer = nn.Linear(6, 6)
    return prune.l1_unstructured(layer, "weight", 0.5)


BODIES = {
    "rnn": lambda: nn.RNN(6, 6, batch_first=True),
    "gru": lambda: nn.GRU(6, 3, 2, batch_first=True, bidirectional=True),
    "lstm": lambda: nn.LSTM(6, 6, batch_first=True),
    "attention": lambda: Attention(6, 2, batch_first=True),
    "transformer": lambda: nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True),
    "transposed": lambda: nn.ConvTranspose1d(4, 4, 1),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(6, 6)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(6, 6)),
    "pruned": pruned,
    "old spectral_norm": lambda: nn.utils.spectral_norm(nn.Linear(6, 6)),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
def test_weights_reach_the_layer(body):
    torch.manual_seed(0)
    net = Reader(BODIES[body]())
    net(TOKENS)  # hooks have computed their weights
    net.eval()
    model = Gaussian(net, 3)
    initial = model.initial_weights()
    output = model.output(TOKENS, initial)
    torch.testing.assert_close(output, net(TOKENS))
    for name, value in initial.items():
        other = model.output(TOKENS, initial | {name: value + torch.randn_like(value)})
        assert not torch.allclose(other, output), name
    guide = MeanFieldNormal(model, init_scale=0.1)
    ELBO().differentiable_loss(model, guide, TOKENS, torch.tensor([0, 1, 2])).backward()
    for kind in ("loc", "log_scale"):
        assert all(guide._get(kind, name).grad.any() for name in model.weight_names)
    torch.testing.assert_close(model.output(TOKENS, initial), output)


def test_recurrent_layers_hold_no_draw_afterwards():
    model = Gaussian(Reader(nn.GRU(6, 6, batch_first=True)), 3)
    model.output(TOKENS, model.initial_weights())
    names = model.net.body._flat_weights_names
    flat = dict(zip(names, model.net.body._flat_weights, strict=True))
    assert flat["weight_hh_l0"] is None and flat["bias_hh_l0"] is model.net.body.bias_hh_l0


def test_a_row_for_padding_stays_as_it_is():
    net = nn.Sequential(nn.Embedding(5, 3, padding_idx=-2))
    model = Gaussian(net, 3, likelihood="normal")
    guide = MeanFieldNormal(model, init_scale=1.0)
    output = model.output(torch.arange(5), guide())
    assert not output[3].any() and output[[0, 1, 2, 4]].all()


def test_a_padding_row_that_a_head_shares_is_drawn():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens):
            return self.head(self.embed(tokens))

    model = Gaussian(Words(), 3)
    output = model.output(torch.arange(1, 5), MeanFieldNormal(model, init_scale=1.0)())
    assert output[:, 0].all()
