"""Shrink a ResNet-20 for CIFAR-10 with 500 images without labels, and no training.

The weights are those that others trained, resnet20-12fca82f.th of the repository
github.com/akamaster/pytorch_resnet_cifar10. They were picked by the error on the test images. So
half of these images judge the compression here, and the other half gives the test error. CIFAR-10
is read from --data-dir, or downloaded. The script needs a few minutes on one core:

    python cifar_resnet.py --weights resnet20-12fca82f.th --data-dir DIR
"""

import argparse
from pathlib import Path

import bitsback
import numpy as np
import torch
from bitsback.training.state_dict import load_weights
from bitsback.workbench.cifar import records
from torch import Tensor, nn


def examples(rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images with pixels in [0, 1], and their classes. The network itself normalizes the pixels."""
    images = torch.from_numpy(rows[:, 1:]).reshape(-1, 3, 32, 32).float() / 255
    return images, torch.from_numpy(rows[:, 0]).long()


@torch.no_grad()
def error(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """The error in percent."""
    predictions = torch.cat([network(some).argmax(1) for some in x.split(500)])
    return 100 * (predictions != y).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, metavar="FILE", help="the network's weights")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder with the files of CIFAR-10"
    )
    options = parser.parse_args()

    net = bitsback.network("resnet-20").eval()
    load_weights(options.weights, net)
    train, test = records(options.data_dir)
    random = np.random.RandomState(0)
    order = random.permutation(len(test))
    judges, report = examples(test[order[:2_500]]), examples(test[order[5_000:]])
    calibration, _ = examples(train[random.permutation(len(train))[:500]])

    small = bitsback.shrink(net, calibration, validation=judges, max_drop=0.5)
    small.save("resnet20.bb")
    loaded = bitsback.load("resnet20.bb")
    print("                  bytes    test error, %")
    print(f"original    {small.report['float32_bytes']:11}    {error(net, *report):13.2f}")
    print(f"resnet20.bb {len(small.data):11}    {error(loaded, *report):13.2f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    main()
