"""Networks of every kind that people train, small: each a factory and its example inputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .image_networks import (
    VGG,
    Autoencoder,
    Conv3d,
    DenseNet,
    MobileNet,
    PaddedResNet,
    PixelShuffle,
    ResNet,
    ShuffleNet,
    Swin,
    UNet,
    ViT,
)
from .sequence_networks import (
    GPT,
    BiLSTM,
    Dilated,
    Einsum,
    EinsumHeads,
    Gated,
    GroupedQueries,
    GRUClassifier,
    LSTMTagger,
    Rotary,
    Seq2Seq,
    TimeFirst,
    Transformer,
    TwoInputs,
)


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
    "pixel-shuffle": (PixelShuffle, _images(3, 8)),
    "grouped-queries": (GroupedQueries, lambda: torch.randn(4, 5, 10)),
    "einsum-heads": (EinsumHeads, lambda: torch.randn(4, 5, 8)),
    "time-first": (TimeFirst, lambda: torch.randn(4, 6, 5)),
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
