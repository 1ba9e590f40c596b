"""Networks of sequences and of vectors, small."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Transformer(nn.Module):
    """torch's own encoder layers over a sequence of vectors."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, norm_first=True)
        self.embed = nn.Linear(6, 16)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x)).mean(1))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if causal:
            self.register_buffer("mask", torch.tril(torch.ones(7, 7))[None, None].bool())

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).split(c, dim=2)
        q, k, v = (
            part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in (q, k, v)
        )
        if self.causal:
            score = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
            score = score.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
            y = F.softmax(score, dim=-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).contiguous().view(b, t, c))


class GPT(nn.Module):
    """A decoder with learned positions; embedding and head are tied."""

    def __init__(self, vocabulary: int = 11, width: int = 12) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(7, width)
        self.ln = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.attn = nn.ModuleList(Attention(width, 3, True) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(width, 20) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(20, width) for _ in range(2))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, idx: Tensor) -> Tensor:
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1], device=idx.device))
        for i in range(2):
            x = x + self.attn[i](self.ln[2 * i](x))
            x = x + self.down[i](F.gelu(self.up[i](self.ln[2 * i + 1](x))))
        return self.head(x)


class LSTMTagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, 6)
        self.lstm = nn.LSTM(6, 8, num_layers=2, batch_first=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.embed(x))
        return self.fc(y)


class GRUClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 7, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.gru(x)
        return self.fc(torch.cat([h[0], h[1]], 1))


class TwoInputs(nn.Module):
    """Two inputs, outputs in a dictionary, a module that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 10)
        self.mix = nn.Linear(20, 8)
        self.heads = nn.ModuleDict({"a": nn.Linear(8, 3), "b": nn.Linear(8, 1)})

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        both = torch.cat([F.relu(self.shared(left)), F.relu(self.shared(right))], -1)
        y = torch.tanh(self.mix(both))
        return {"a": self.heads["a"](y), "b": self.heads["b"](y).squeeze(-1)}


class Dilated(nn.Module):
    """A 1-D signal network: padding modes, dilation, PReLU, weight norm, transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(2, 6, 3, padding=2, dilation=2, padding_mode="reflect")
        self.b = nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 6, 3, padding="same"))
        self.act = nn.PReLU(6)
        self.c = nn.Conv1d(6, 4, 3, padding=1, padding_mode="circular")
        self.up = nn.ConvTranspose1d(4, 4, 4, stride=2, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.b(F.silu(self.a(x))))
        return self.fc(self.up(self.c(x)).amax(-1))


class Gated(nn.Module):
    """A gated MLP with RMS norm, as in today's decoders, and a learned scale of the residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(10)
        self.gate, self.up = nn.Linear(10, 16, bias=False), nn.Linear(10, 16, bias=False)
        self.down = nn.Linear(16, 10, bias=False)
        self.scale = nn.Parameter(torch.full((10,), 0.5))
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.scale * self.down(F.silu(self.gate(y)) * self.up(y))
        return self.fc(x)


class BiLSTM(nn.Module):
    """Two bidirectional layers with dropout between them; the last states and all outputs count."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 6, 2, bidirectional=True, batch_first=True, dropout=0.1)
        self.rnn = nn.RNN(12, 4, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(4 + 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, (h, _) = self.lstm(x)
        _, last = self.rnn(y)
        return self.fc(torch.cat([last[-1], h[-1]], 1))


class Rotary(nn.Module):
    """A decoder as in today's language models: rotary positions, grouped queries, gated MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, 16)
        self.q, self.k = nn.Linear(16, 16, bias=False), nn.Linear(16, 8, bias=False)
        self.v, self.o = nn.Linear(16, 8, bias=False), nn.Linear(16, 16, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(16) for _ in range(3))
        self.gate, self.up = nn.Linear(16, 24, bias=False), nn.Linear(16, 24, bias=False)
        self.down = nn.Linear(24, 16, bias=False)
        angles = torch.arange(6)[:, None] / 10.0 ** (torch.arange(0, 4, 2) / 4)
        self.register_buffer("cos", torch.cat([angles, angles], 1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], 1).sin(), persistent=False)

    def turn(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cos + torch.cat([-second, first], -1) * self.sin

    def forward(self, idx: Tensor) -> Tensor:
        x = self.embed(idx)
        b, t, _ = x.shape
        y = self.norms[0](x)
        q, k, v = (f(y).view(b, t, -1, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        k, v = self.turn(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        y = F.scaled_dot_product_attention(self.turn(q), k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, -1))
        y = self.norms[1](x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.norms[2](x) @ self.embed.weight.T


class Seq2Seq(nn.Module):
    """torch's own encoder and decoder, inputs by name, several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(8, 2, 1, 1, 12, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
        y = self.net(source, target, tgt_mask=mask, tgt_is_causal=False)
        return self.fc(y), F.normalize(y.mean(1), dim=-1)


class Einsum(nn.Module):
    """Attention by einsum, convolutions beside each other, a mixture of experts by one_hot."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 6, 1), nn.Conv1d(4, 6, 3, padding=1)
        self.experts = nn.ModuleList(nn.Linear(12, 10) for _ in range(2))
        self.route = nn.Linear(12, 2)
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)
        score = torch.einsum("bct,bcs->bts", y, y).softmax(-1)
        y = torch.einsum("bts,bcs->bct", score, y).mean(-1)
        gate = F.one_hot(self.route(y).argmax(-1), 2).to(y.dtype)
        return self.fc(sum(gate[:, i, None] * F.relu(e(y)) for i, e in enumerate(self.experts)))


class GroupedQueries(nn.Module):
    """Two heads of queries share one of keys and values, said by torch's own flag."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(10, 24), nn.Linear(24, 10)
        self.k, self.v = nn.Linear(10, 12), nn.Linear(10, 12)
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, -1, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.fc(x + self.o(y.transpose(1, 2).reshape(b, t, -1)))


class EinsumHeads(nn.Module):
    """Attention whose weights have an axis for heads, in equations alone."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"wq": (8, 3, 4), "wk": (8, 3, 4), "wv": (8, 3, 5), "wo": (3, 5, 8)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) / 3))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("...td,dhe->...hte", x, w) for w in (self.wq, self.wk, self.wv))
        score = torch.einsum("bhqe, bhke -> bhqk", q, k) / 2
        y = torch.einsum("bhqk,bhke->bqhe", score.softmax(-1), v)
        return self.fc(x + torch.einsum("bqhe,hed->bqd", y, self.wo))


class TimeFirst(nn.Module):
    """torch's own layers with the batch on axis 1; the network's inputs have it on axis 0."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12)
        self.embed = nn.Linear(5, 8)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.lstm, self.fc = nn.LSTM(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.encoder(self.embed(x).transpose(0, 1)))
        return self.fc(F.relu(y[-1]))
