"""Networks of images and volumes, small."""

import torch
from bitsback.workbench import resnets
from torch import Tensor, nn
from torch.nn import functional as F


class Block(resnets.Block):
    """A residual block that adds its shortcut in place."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__(before, after, stride, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.shortcut is None else self.shortcut(x)
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


class PixelShuffle(nn.Module):
    """Upsampling by channels that become pixels, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.up = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 20, 3, padding=1)
        self.mix, self.b = nn.Conv2d(5, 4, 3, padding=1), nn.Conv2d(16, 5, 1)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pixel_shuffle(F.relu(self.up(F.relu(self.a(x)))), 2)
        y = F.pixel_unshuffle(F.relu(self.mix(y)), 2)
        return self.fc(F.relu(self.b(y)).mean((2, 3)))
