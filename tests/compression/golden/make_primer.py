"""Writes compression/graph_primer.py: what the statistics of version 4 of the format begin with.

Only for a new format version: files written with another primer cannot be read. Run
make_primed.py after it.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from bitsback.compression.describe_graph import make_primer
from bitsback.graph import GraphNetwork, trace
from torch import Tensor, nn
from torch.nn import functional as F

TARGET = Path(__file__).parents[3] / "compression" / "graph_primer.py"
LINE = 76  # characters of a line of base 85


def lenet_300_100() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(), fc1=nn.Linear(784, 300), relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100), relu2=nn.ReLU(), fc3=nn.Linear(100, 10),
        )
    )  # fmt: skip


def lenet_5() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5), pool1=nn.MaxPool2d(2), conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2), flatten=nn.Flatten(), fc1=nn.Linear(800, 500),
            relu1=nn.ReLU(), fc2=nn.Linear(500, 10),
        )
    )  # fmt: skip


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 16 * 16, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10),
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        if stride > 1:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, padded: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.fc = nn.Linear(256, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Inverted(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = 6 * before
        self.conv = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6()
            ),
            nn.Sequential(
                nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
                nn.BatchNorm2d(inner), nn.ReLU6(),
            ),
            nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        self.features = nn.Sequential(stem, Inverted(32, 24, 2), Inverted(24, 24, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = nn.Conv2d(64, 128, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(128, 64, 2, 2)
        self.dec2 = nn.Conv2d(128, 64, 3, padding=1)
        self.up1 = nn.ConvTranspose2d(64, 32, 2, 2)
        self.dec1, self.head = nn.Conv2d(64, 32, 3, padding=1), nn.Conv2d(32, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.enc1(x))
        b = F.relu(self.enc2(self.pool(a)))
        c = F.relu(self.bottleneck(self.pool(b)))
        c = F.relu(self.dec2(torch.cat([self.up2(c), b], 1)))
        c = F.relu(self.dec1(torch.cat([self.up1(c), a], 1)))
        return torch.sigmoid(self.head(c))


class CausalAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        parts = self.c_attn(x).split(c, dim=2)
        q, k, v = (p.view(b, t, self.heads, c // self.heads).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


class DecoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), CausalAttention(width, 12)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        parts = {"wte": nn.Embedding(50257, 768), "wpe": nn.Embedding(64, 768)}
        parts["h"] = nn.ModuleList([DecoderBlock(768), DecoderBlock(768)])
        self.transformer = nn.ModuleDict(parts | {"ln_f": nn.LayerNorm(768)})
        self.lm_head = nn.Linear(768, 50257, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, idx: Tensor) -> Tensor:
        t = self.transformer
        x = t["wte"](idx) + t["wpe"](torch.arange(idx.shape[1], device=idx.device))
        for block in t["h"]:
            x = block(x)
        return self.lm_head(t["ln_f"](x))


class VisionBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.attn["qkv"](self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + self.attn["proj"](y)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 192))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, 192))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 192, 16, 16)})
        self.blocks = nn.ModuleList([VisionBlock(192, 3), VisionBlock(192, 3)])
        self.norm, self.head = nn.LayerNorm(192, 1e-6), nn.Linear(192, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 8, 128, batch_first=True)
        self.embedding = nn.Embedding(1000, 64)
        self.transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.transformer(self.embedding(x)).mean(1))


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10000, 128)
        self.lstm = nn.LSTM(128, 256, batch_first=True)
        self.fc = nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.embedding(x))
        return self.fc(y[:, -1])


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 64))
        self.policy, self.value = nn.Linear(64, 4), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.tanh(self.encoder(x))
        return self.policy(y), self.value(y)


def networks() -> list[tuple[GraphNetwork, str | None]]:
    torch.manual_seed(0)
    tokens = torch.zeros(2, 16, dtype=torch.int64)
    images = torch.randn(2, 3, 224, 224)
    made = [
        (Heads(), torch.randn(2, 16), "mlp"),
        (Classifier(), tokens, "lstm"),
        (Encoder(), tokens, "transformer"),
        (GPT(), tokens, "gpt-2"),
        (ViT(), torch.randn(2, 3, 64, 64), "vit"),
        (UNet(), torch.randn(2, 3, 64, 64), "unet"),
        (MobileNet(), images, "mobilenet-v2"),
        (ResNet(), images, "resnet-18"),
        (cnn(), torch.randn(2, 3, 32, 32), None),
        (lenet_5(), torch.randn(2, 1, 28, 28), "lenet-5-caffe"),
        (lenet_300_100(), torch.randn(2, 784), "lenet-300-100"),
    ]
    return [(trace(net.eval(), x), label) for net, x, label in made]


def main() -> None:
    import base64

    text = base64.b85encode(make_primer(networks())).decode()
    lines = [text[at : at + LINE] for at in range(0, len(text), LINE)]
    body = "\n".join(f'    b"{line}"' for line in lines)
    TARGET.write_text(
        '"""What the statistics of the graph section begin with: part of the file format.\n\n'
        "A stream of symbols without a primer that holds a few common networks. It never changes;\n"
        'tests/compression/golden/make_primer.py wrote it.\n"""\n\n'
        f"from base64 import b85decode\n\nPRIMER = b85decode(\n{body}\n)\n"
    )


if __name__ == "__main__":
    main()
