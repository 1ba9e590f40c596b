"""Networks of every kind that people train, small: each a factory and its example inputs."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """A residual block with BatchNorm; its shortcut is a convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y)


class ResNet(nn.Module):
    def __init__(
        self, widths: tuple[int, ...] = (8, 12), blocks: int = 2, classes: int = 5
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        layers, before = [], widths[0]
        for i, width in enumerate(widths):
            for j in range(blocks):
                layers.append(Block(before, width, 2 if i and not j else 1))
                before = width
        self.layers = nn.ModuleList(layers)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(x)))
        for layer in self.layers:
            x = layer(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class PaddedResNet(nn.Module):
    """The CIFAR ResNet whose shortcuts add zero channels (option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 12, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3))
        x = F.relu(self.bn2(self.conv2(x)) + short)
        return self.fc(x.mean((2, 3)))


class MobileNet(nn.Module):
    """Inverted residuals: expand, depthwise, project; squeeze and excitation; ReLU6, hardswish."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        inner = 3 * width
        self.expand = nn.Conv2d(width, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, 1, 1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.squeeze = nn.Conv2d(inner, 4, 1)
        self.excite = nn.Conv2d(4, inner, 1)
        self.project = nn.Conv2d(inner, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(width, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem(x))
        y = F.hardswish(self.bn1(self.expand(x)))
        y = F.relu6(self.bn2(self.depthwise(y)))
        scale = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        x = x + self.bn3(self.project(y * scale))
        return self.head(x)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(6 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.last = nn.BatchNorm2d(18)
        self.fc = nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        x = F.avg_pool2d(F.relu(self.last(x)), 2)
        return self.fc(x.mean((-2, -1)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, 6, 3, padding=1)
        self.down2 = nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.mix = nn.Conv2d(12, 6, 3, padding=1)
        self.out = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        u = torch.cat([a, self.up(b)], dim=1)
        return self.out(F.leaky_relu(self.mix(u), 0.1))


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


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 12))
        self.pos = nn.Parameter(torch.randn(1, 5, 12))
        self.qkv = nn.Linear(12, 36)
        self.proj = nn.Linear(12, 12)
        self.norm = nn.LayerNorm(12)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, 3, c // 3).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        return self.fc((x + self.proj(y))[:, 0])


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


class ShuffleNet(nn.Module):
    """Grouped convolutions and a channel shuffle by reshape with computed sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.norm = nn.GroupNorm(4, 8)
        self.after = nn.Conv2d(8, 6, 3)
        self.fc = nn.Linear(6 * 6 * 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.grouped(F.relu(self.conv(x))))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        x = F.elu(self.after(self.norm(x)))
        return self.fc(x.view(x.size(0), -1))


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


class VGG(nn.Module):
    """A plain CNN with BatchNorm and a flattening into dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(10 * 2 * 2, 12), nn.ReLU(True), nn.Dropout(), nn.Linear(12, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class Conv3d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv3d(1, 4, 3, padding=1)
        self.b = nn.Conv3d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.a(x)), 2)
        return self.fc(F.relu(self.b(x)).mean(dim=(2, 3, 4)))


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


class Autoencoder(nn.Module):
    """Transposed and grouped transposed convolutions, BatchNorm behind them, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(2, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.up = nn.ConvTranspose2d(6, 8, 2, 2, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.mix = nn.Conv2d(8, 4, 3, padding=1, padding_mode="replicate")
        self.out = nn.ConvTranspose2d(4, 2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.elu(self.norm(self.up(self.down(x))))
        return self.out(F.interpolate(torch.sigmoid(self.mix(y)), scale_factor=2))


class Swin(nn.Module):
    """Windows of patches, rolled and rolled back, with a bias of relative positions."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Conv2d(3, width, 2, 2)
        self.norm = nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.randn(9, heads))
        self.register_buffer("index", torch.randint(0, 9, (4, 4)))
        self.scale = nn.Parameter(torch.full((width,), 0.3))
        self.fc = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-1, -1), (1, 2))
        y = y.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.qkv(y).reshape(-1, 4, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(4, 4, -1).permute(2, 0, 1)
        y = (q @ k.transpose(-2, -1) * 0.5 + bias.unsqueeze(0)).softmax(-1) @ v
        y = self.proj(y.transpose(1, 2).reshape(-1, 4, c))
        y = y.view(-1, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        x = x + self.scale * torch.roll(y, (1, 1), (1, 2))
        return self.fc(x.mean((1, 2)))


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


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.Conv2d(6, 9, 5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(9 * 4 * 4, 20), nn.ReLU(), nn.Linear(20, 10),
    )  # fmt: skip


def _images(channels: int, size: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(4, channels, size, size)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "lenet": (_lenet, _images(1, 28)),
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(9, 14), nn.ReLU(), nn.Linear(14, 7), nn.Tanh(), nn.Linear(7, 3)
        ),
        lambda: torch.randn(4, 9),
    ),
    "vgg": (VGG, _images(3, 8)),
    "resnet": (ResNet, _images(3, 8)),
    "padded-resnet": (PaddedResNet, _images(3, 8)),
    "mobilenet": (MobileNet, _images(3, 8)),
    "densenet": (DenseNet, _images(3, 8)),
    "unet": (UNet, _images(1, 8)),
    "transformer": (Transformer, lambda: torch.randn(4, 5, 6)),
    "gpt": (GPT, lambda: torch.randint(0, 11, (4, 7))),
    "vit": (ViT, _images(3, 8)),
    "lstm": (LSTMTagger, lambda: torch.randint(0, 13, (4, 6))),
    "gru": (GRUClassifier, lambda: torch.randn(4, 6, 5)),
    "two-inputs": (TwoInputs, lambda: (torch.randn(4, 6), torch.randn(4, 6))),
    "shufflenet": (ShuffleNet, _images(3, 8)),
    "signal": (Dilated, lambda: torch.randn(4, 2, 12)),
    "conv3d": (Conv3d, lambda: torch.randn(4, 1, 6, 6, 6)),
    "gated": (Gated, lambda: torch.randn(4, 10)),
    "bilstm": (BiLSTM, lambda: torch.randn(4, 6, 5)),
    "autoencoder": (Autoencoder, lambda: torch.randn(4, 2, 8, 8)),
    "swin": (Swin, _images(3, 8)),
    "rotary": (Rotary, lambda: torch.randint(0, 13, (4, 6))),
    "seq2seq": (Seq2Seq, lambda: {"source": torch.randn(4, 5, 8), "target": torch.randn(4, 4, 8)}),
    "einsum": (Einsum, lambda: torch.randn(4, 4, 7)),
}


def make(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A network of the list in eval mode, with BatchNorm statistics of its own, and inputs."""
    torch.manual_seed(seed)
    factory, inputs = NETWORKS[name]
    net = factory()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.eval(), inputs()


def call(net: nn.Module, x: Any) -> Any:
    """The output of a network for inputs as `make` gives them."""
    if isinstance(x, dict):
        return net(**x)
    return net(*x) if isinstance(x, tuple) else net(x)
