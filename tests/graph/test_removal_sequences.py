"""Which units of attention, of embeddings and of recurrent layers go."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .test_removal import Net, deaf, kill, reduced


def test_attention_heads():
    net = Net(
        lambda m, x: m.out(F.scaled_dot_product_attention(
            *(f(x).view(-1, 4, 3, 2).transpose(1, 2) for f in (m.q, m.k, m.v))
        ).transpose(1, 2).reshape(-1, 4, 6)),
        q=nn.Linear(5, 6), k=nn.Linear(5, 6), v=nn.Linear(5, 6), out=nn.Linear(6, 3),
    )  # fmt: skip
    kill(net.v, [2, 3])
    shapes, _ = reduced(net, torch.randn(3, 4, 5))
    assert shapes["q.weight"] == shapes["v.weight"] == (4, 5)
    assert shapes["out.weight"] == (3, 4)


def test_a_mask_may_hide_everything():
    """Under a mask constants are not means of themselves: only zeros go."""
    net = Net(
        lambda m, x, mask: m.out(F.scaled_dot_product_attention(
            *(f(x)[:, None] for f in (m.q, m.k, m.v)), attn_mask=mask
        )[:, 0]),
        q=nn.Linear(5, 4), k=nn.Linear(5, 4), v=nn.Linear(5, 4), out=nn.Linear(4, 3),
    )  # fmt: skip
    kill(net.v, [2], bias=1.0)
    mask = torch.ones(3, 1, 4, 4, dtype=torch.bool).tril()
    assert reduced(net, torch.randn(3, 4, 5), mask)[0]["v.weight"] == (4, 5)
    kill(net.v, [2])
    assert reduced(net, torch.randn(3, 4, 5), mask)[0]["v.weight"] == (3, 5)


def test_a_mask_of_its_own_for_each_head_keeps_all_heads():
    """A padding mask of `nn.MultiheadAttention` is one: it is copied for each head."""
    net = Net(
        lambda m, x, mask: m.out(m.mha(x, x, x, key_padding_mask=mask, need_weights=False)[0]),
        mha=nn.MultiheadAttention(6, 3, batch_first=True), out=nn.Linear(6, 2),
    )  # fmt: skip
    with torch.no_grad():
        net.mha.out_proj.weight[:, 2:4] = 0  # nobody reads the second head
    mask = torch.tensor([[False, False, False, True]] * 3)
    assert reduced(net, torch.randn(3, 4, 6), mask)[0]["mha.in_proj_weight"] == (18, 6)


def test_embedding_and_tied_head():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.fc = nn.Embedding(7, 6), nn.Linear(6, 6)
            self.head = nn.Linear(6, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            y = self.embed(x)
            return self.head(y + torch.tanh(self.fc(y)))

    net = Tied()
    with torch.no_grad():
        net.embed.weight[:, [1, 4]] = 0
    kill(net.fc, [1, 4])
    shapes, reduction = reduced(net, torch.randint(0, 7, (3, 4)))
    assert shapes["embed.weight"] == shapes["head.weight"] == (7, 4)
    state = reduction.network
    assert state.embed.weight is state.head.weight


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_lose_units_one_by_one(kind):
    """Each layer and direction has hidden units of its own."""
    net = Net(
        lambda m, x: m.out(m.rnn(x)[0]),
        rnn=kind(5, 4, 2, batch_first=True, bidirectional=True), out=nn.Linear(8, 3),
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in net.rnn.named_parameters():
            if name.endswith(("l0", "l1_reverse")):
                parameter.view(-1, 4, *parameter.shape[1:])[:, 1] = 0
    shapes, reduction = reduced(net, torch.randn(3, 6, 5))
    assert reduction.units == 2
    assert shapes["rnn.weight_hh_l0"][1] == shapes["rnn.weight_hh_l1_reverse"][1] == 3
    assert shapes["rnn.weight_hh_l1"][1] == shapes["rnn.weight_hh_l0_reverse"][1] == 4
    assert shapes["rnn.weight_ih_l1"][1] == 7 and shapes["out.weight"] == (3, 7)


def test_a_hidden_unit_that_only_the_next_step_reads_stays():
    net = Net(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.RNN(5, 4, batch_first=True),
              out=nn.Linear(4, 3))  # fmt: skip
    deaf(net.out, [2])
    assert reduced(net, torch.randn(3, 6, 5))[0]["rnn.weight_hh_l0"] == (4, 4)


def test_states_that_are_passed_in_keep_layers_together():
    net = Net(
        lambda m, x: m.out(m.rnn(x, m.h(x[:, 0]).view(-1, 2, 4).transpose(0, 1))[0]),
        rnn=nn.GRU(5, 4, 2, batch_first=True), h=nn.Linear(5, 8), out=nn.Linear(4, 3),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in net.rnn.parameters():
            parameter.view(3, 4, *parameter.shape[1:])[:, 1] = 0
    assert reduced(net, torch.randn(3, 6, 5))[1].units == 0
