"""Residual networks for CIFAR-10: images of shape (3, 32, 32) with pixels in [0, 1]."""

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(x - mean) / std, channel by channel. Its numbers are no part of the state_dict."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            value = torch.tensor(values).reshape(-1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut.

    :param padded: where the shape changes, the shortcut takes every second pixel and adds channels
        of zeros ("option A" of He et al. 2016); else it is a 1 x 1 convolution with BatchNorm.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, padded: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.grown, self.stride = outputs - inputs, stride
        self.shortcut = None
        if not padded and (stride != 1 or inputs != outputs):
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self._short(x))

    def _short(self, x: Tensor) -> Tensor:
        if self.shortcut is not None:
            return self.shortcut(x)
        if self.stride == 1 and not self.grown:
            return x
        x = x[:, :, :: self.stride, :: self.stride]
        half = self.grown // 2
        return functional.pad(x, (0, 0, 0, 0, half, self.grown - half))


class ResNet(nn.Module):
    """A residual network of three stages with 16, 32 and 64 channels.

    :param blocks: in each stage; the depth is 6 `blocks` + 2.
    :param padded: see `Block`.
    """

    def __init__(self, blocks: int, padded: bool) -> None:
        super().__init__()
        self.norm = Normalize(MEAN, STD)
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        before = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            layers = []
            for place in range(blocks):
                stride = 2 if stage > 1 and place == 0 else 1
                layers.append(Block(before, width, stride, padded))
                before = width
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.linear = nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(self.norm(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet_8() -> nn.Module:
    """ResNet-8 of MLPerf Tiny: one block a stage, 1 x 1 shortcuts; 78,042 parameters."""
    return ResNet(1, padded=False)


def resnet_20() -> nn.Module:
    """ResNet-20 of He et al. 2016, zero-padded shortcuts; 269,722 parameters."""
    return ResNet(3, padded=True)
