"""Compress a trained network by three methods, which prune single weights or whole units.

The script trains a convolutional network with BatchNorm, as you would train yours. Each method
starts from this network and returns a plain, smaller `nn.Module`. `log-uniform` prunes weights,
`normal-jeffreys` and `horseshoe` also give each unit a scale to be pruned by.
"""

import bitsback
import torch
from bitsback.methods import METHODS
from bitsback.training.options import Options
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
data = bitsback.load_data("digits")
net = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(64, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for _epoch in range(8):
    for chosen in torch.randperm(len(data.train)).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(data.train.x[chosen]), data.train.y[chosen])
        loss.backward()
        optimizer.step()


def wrong(network: nn.Module) -> float:
    """Test error in percent."""
    with torch.no_grad():
        predictions = network.eval()(data.test.x).argmax(1)
    return 100 * (predictions != data.test.y).float().mean().item()


train, validation = ((part.x, part.y) for part in (data.train, data.validation))
options = Options(epochs=25, batch_size=64, lr=1e-2, kl_warmup=(0.0, 5.0))
print(f"{'':18}{'error %':>8}{'bytes':>8}{'ratio':>7}  units")
print(f"{'trained network':18}{wrong(net):8.1f}")
for name in ("log-uniform", "normal-jeffreys", "horseshoe"):
    model, guide = METHODS[name].pair(net, num_data=len(data.train))
    bitsback.fit(model, guide, train, options=options)
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=validation, margin_error=1.0, margin_nll=0.03
    )
    report, error = result.report, wrong(result.network)
    units = " ".join(report["units"])
    print(f"{name:18}{error:8.1f}{report['bytes']:8d}{report['ratio']:7.0f}  {units}")
    assert error < 12 and report["ratio"] > 6, name
