"""Shrink a trained network with 200 inputs without labels, and no training.

The script trains a network and keeps its weights. `shrink` does the rest. The same from a shell, in
the script's folder:

    bitsback shrink --network digits-mlp --weights net.safetensors --data digits --max-drop 1
"""

import bitsback
import torch
from safetensors.torch import save_file
from torch import nn


def trained(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """A reference network after 200 updates on all of the data."""
    torch.manual_seed(0)
    net = bitsback.network("digits-mlp")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


def main() -> None:
    data = bitsback.load_data("digits")
    net = trained(data.train.x, data.train.y)
    save_file(net.state_dict(), "net.safetensors")
    validation = data.validation.x, data.validation.y
    small = bitsback.shrink(net, data.train.x[:200], validation=validation, max_drop=1.0)
    small.save("net.bb")
    loaded = bitsback.load("net.bb")
    assert small.report["judged"]["within_max_drop"] and small.report["ratio"] > 10
    wrong = (loaded(data.test.x).argmax(1) != data.test.y).float().mean().item()
    print(f"{len(small.data)} bytes, {small.report['ratio']:.0f}x; test error {100 * wrong:.1f} %")


if __name__ == "__main__":
    main()
