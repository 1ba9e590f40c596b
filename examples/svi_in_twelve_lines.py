"""Sparse variational dropout by Pyro's SVI, in twelve lines: train a pair, compress, load.

A pair is a model, which holds the prior, and a guide, which is the approximate posterior. Pyro
trains both. The lines between the two comments are what a Pyro user writes.
"""

import tempfile
from pathlib import Path

import bitsback
import pyro
import torch
from pyro.infer import SVI, TraceMeanField_ELBO

torch.set_num_threads(1)
pyro.set_rng_seed(0)
data = bitsback.load_data("digits")
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(data.train.x, data.train.y), batch_size=64, shuffle=True
)
net = bitsback.network("digits-mlp")  # any nn.Module; trained here as anybody would
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for _epoch in range(40):
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
path = Path(tempfile.mkdtemp()) / "net.bb"

# Twelve lines.
model = bitsback.models.LogUniform(net, num_data=len(data.train))
guide = bitsback.guides.MeanFieldNormal(model)  # swap this line
svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 5e-3}), TraceMeanField_ELBO())
for _epoch in range(60):
    for x, y in loader:
        svi.step(x, y)
validation = (data.validation.x, data.validation.y)
result = bitsback.compress(model.trained(), guide.posterior(), validation=validation)
result.save(path)
small = bitsback.load(path)  # a plain nn.Module; no Pyro needed
error = (small(data.test.x).argmax(1) != data.test.y).float().mean().item()
# Twelve lines.

kept, ratio = result.report["nonzero_fraction"], result.report["ratio"]
print(f"{path.stat().st_size} bytes, ratio {ratio:.0f}, {kept:.1%} of the weights")
print(f"test error {100 * error:.1f} %")
assert error < 0.15 and ratio > 20
