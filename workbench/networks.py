"""The reference networks, by name.

All are of float32 and take image tensors `(N, channels, height, width)` with pixels in [0, 1].
Those for digits and MNIST are plain `nn.Sequential`, whose layers are named by kind and ordinal
(`conv1`, `relu1`, `fc2`): names of this pattern cost nothing in a compressed file. The residual
networks for CIFAR-10 are in `resnets`.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise

from torch import nn

from .names import lookup
from .resnets import resnet_8, resnet_20


def network(name: str) -> nn.Module:
    """A new network of the zoo, with torch's default initialisation.

    The weights depend on torch's generator: call `torch.manual_seed` first.

    :param name: of a reference network, such as "lenet-5-caffe" or "resnet-20".
    :raises ValueError: for an unknown name; the message lists the known ones.

    >>> torch.manual_seed(0)
    >>> net = bitsback.network("lenet-300-100")
    """
    return lookup("network", name, NETWORKS)()


def default_network(data: str) -> str:
    """The name of the network that is used for a data set if none is asked for."""
    return {"digits": "digits-mlp", "cifar10": "resnet-8"}.get(data, "lenet-300-100")


def _perceptron(*units: int) -> nn.Sequential:
    """Dense layers of the given widths, input first, with ReLU between."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, (n_in, n_out) in enumerate(pairwise(units), start=1):
        if i > 1:
            layers[f"relu{i - 1}"] = nn.ReLU()
        layers[f"fc{i}"] = nn.Linear(n_in, n_out)
    return nn.Sequential(layers)


def _digits_mlp() -> nn.Sequential:
    """64-100-50-10, 12,060 parameters, for 1 x 8 x 8 images."""
    return _perceptron(64, 100, 50, 10)


def _lenet_300_100() -> nn.Sequential:
    """784-300-100-10, 266,610 parameters, for 1 x 28 x 28 images (LeCun et al. 1998)."""
    return _perceptron(784, 300, 100, 10)


def _lenet_5_caffe() -> nn.Sequential:
    """20C5-MP2-50C5-MP2-500-10, 431,080 parameters, for 1 x 28 x 28 images.

    Caffe's graph: its convolutions are linear but for the pooling; the only ReLU follows the
    first dense layer.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            relu1=nn.ReLU(),
            fc2=nn.Linear(500, 10),
        )
    )


def _lenet_5_caffe_relu() -> nn.Sequential:
    """`lenet-5-caffe` with a ReLU after each convolution, as some papers train it."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            relu3=nn.ReLU(),
            fc2=nn.Linear(500, 10),
        )
    )


def _lenet_5_bayesian_bits() -> nn.Sequential:
    """32C5-MP2-64C5-MP2-512-10, 582,026 parameters, for 1 x 28 x 28 images, with ReLUs.

    The network of van Baalen et al. 2020 for MNIST.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 32, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(1024, 512),
            relu3=nn.ReLU(),
            fc2=nn.Linear(512, 10),
        )
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "digits-mlp": _digits_mlp,
    "lenet-300-100": _lenet_300_100,
    "lenet-5-caffe": _lenet_5_caffe,
    "lenet-5-caffe-relu": _lenet_5_caffe_relu,
    "lenet-5-bayesian-bits": _lenet_5_bayesian_bits,
    "resnet-8": resnet_8,
    "resnet-20": resnet_20,
}
