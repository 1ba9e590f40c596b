"""Choose tau0, the horseshoe's global scale, by a bound on the log marginal likelihood.

A horseshoe prior is trained at five values of tau0 on a small network for scikit-learn's digits.
All values start from one trained pair. The noise of the bound is the same for all values, so the
differences between values are surer than the values. The script writes the plot tau0-bound.svg.
docs/tau0.md says what such a bound can show. `bitsback tau0` does the same for the reference
networks, and compresses the network at each value.
"""

import bitsback
import torch
from bitsback import diagnostics
from matplotlib import pyplot
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
data = bitsback.load_data("digits")
x, y = nn.functional.avg_pool2d(data.train.x, 2).flatten(1), data.train.y  # 4 x 4 pixels
net = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10))


def train(tau0, start):
    """A pair trained at tau0. The first call has no start: it trains the pair that all share."""
    model = bitsback.models.Horseshoe(net, num_data=len(y), tau0=tau0)
    guide = bitsback.guides.Horseshoe(model)
    if start is not None:
        model.load_state_dict(start[0].state_dict())
        guide.load_state_dict(start[1].state_dict())
        guide.rebalance()  # keeps q(w) and makes the KL of the global scale as small as it can be
    epochs, warmup = (40, (0, 20)) if start is None else (10, (0, 0))
    options = bitsback.Options(epochs=epochs, batch_size=128, lr=1e-2, kl_warmup=warmup)
    bitsback.fit(model, guide, (x, y), options=options)
    return model, guide


def kl(model, guide):
    """KL(q || p) in nats, in closed form."""
    with torch.no_grad():
        return bitsback.ELBO().terms(model, guide, x, y).total_kl.item()


rows = diagnostics.select_tau0(train, x, y, (1e-5, 1e-2, 0.1, 1.0, 10.0), kl=kl)
best = diagnostics.best_tau0(rows)
below = [best.above(row) for row in rows]  # nats per example, and the paired standard error
print("    tau0     ELBO, nats per example    below the best one")
for row, (gap, error) in zip(rows, below, strict=True):
    print(f"{row.tau0:8g}    {row.elbo:.4f} +- {row.elbo_stderr:.4f}    {gap:.6f} +- {error:.6f}")
print(f"The largest bound is that of tau0 = {best.tau0:g}.")
assert 1e-2 <= best.tau0 <= 10

figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
axes.errorbar([row.tau0 for row in rows], [-gap for gap, _ in below], [2 * e for _, e in below])
axes.set(xscale="log", xlabel="tau0", ylabel="ELBO less the largest, nats per example")
figure.savefig("tau0-bound.svg")
