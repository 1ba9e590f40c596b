"""How good is an approximate posterior? Checked where the answer is known, then for a network.

Linear regression comes first, because its evidence is known exactly. Two guides are compared by
their k-hats, by corrected leave-one-out, and by several estimators of the evidence. ArviZ reads
what the script keeps of each guide. Then a small classifier is checked before and after
compression. docs/diagnostics.md says what each figure means, and what it cannot say.
"""

import functools
import tempfile
import warnings
from pathlib import Path

import arviz
import bitsback
import pyro
import torch
from bitsback import diagnostics
from bitsback.models.likelihoods import normal
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal
from torch import nn

torch.set_num_threads(1)
pyro.set_rng_seed(0)

# Linear regression: y ~ N(x w, 0.5^2), w ~ N(0, 1), correlated inputs.
x = torch.randn(40, 3)
x[:, 1] += x[:, 0]
y = x @ torch.tensor([[1.0], [-0.5], [0.25]]) + 0.5 * torch.randn(40, 1)
covariance = (x @ x.T + 0.25 * torch.eye(40)).double()
zeros = torch.zeros(40, dtype=torch.float64)
labels = y[:, 0].double()
truth = torch.distributions.MultivariateNormal(zeros, covariance).log_prob(labels).item()
# Leaving each example out, from the inverse of the labels' covariance.
inverse = torch.linalg.inv(covariance)
left_out = torch.distributions.Normal(
    labels - (inverse @ labels) / inverse.diagonal(), inverse.diagonal().rsqrt()
)
exact_loo = left_out.log_prob(labels).sum().item()


def new_model():
    net = nn.Linear(3, 1, bias=False)
    return bitsback.models.Gaussian(
        net, 40, likelihood=functools.partial(normal, scale=0.5), scale=1.0
    )


def train(model, guide, loss, steps):
    decay = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.99}
    schedule = pyro.optim.ExponentialLR(decay)
    svi = SVI(model, guide, schedule, loss)
    for _step in range(steps):
        svi.step(x, y)
        schedule.step()
    return guide


def mean_field(model):
    return train(model, bitsback.guides.MeanFieldNormal(model), TraceMeanField_ELBO(), 400)


def full(model):
    return train(model, AutoMultivariateNormal(model, init_scale=0.1), Trace_ELBO(), 400)


folder = Path(tempfile.mkdtemp())
results = {}
print(f"log evidence, exact: {truth:.3f} nats")
for infer in (mean_field, full):  # swap this line
    model = new_model()
    guide = infer(model)
    draws = diagnostics.draw(model, guide, x, y, num_samples=1000)
    smoothed = diagnostics.psis(draws.log_ratio)
    with warnings.catch_warnings(action="ignore"):  # of k-hats, which are printed below
        results[infer.__name__] = diagnostics.loo(draws)
    print(f"\n{infer.__name__}: {diagnostics.verdict(smoothed.khat, 1000)}")
    for found in (
        diagnostics.elbo(draws),
        diagnostics.importance_bound(draws, k=50),
        diagnostics.psis_evidence(draws),
        diagnostics.laplace(model, x, y),
    ):
        print(f"  {found.name:31} {found.value:8.3f} +- {found.stderr:.3f}  ({found.direction})")
        slack = 4 * found.stderr + 0.02
        assert found.value < truth + slack, found
        assert found.name == "ELBO" or abs(found.value - truth) < 0.3 + slack, found
    data = diagnostics.to_arviz(model, guide, x, y, num_samples=200)
    diagnostics.save(data, folder / f"{infer.__name__}.nc")  # arviz.from_netcdf reads it
    print(arviz.summary(data, var_names=["weight"], kind="stats"))
assert {path.name for path in folder.iterdir()} == {"mean_field.nc", "full.nc"}

# One model, so one exact answer; the k-hats say whose figure is to be trusted.
print(f"\nleave-one-out, exact: {exact_loo:.2f} nats")
for name, result in results.items():
    print(
        f"  {name:10} elpd {result.elpd:7.2f}, k-hats above {result.limit:.2f}: {result.doubtful}"
    )
try:
    diagnostics.compare(results)
except ValueError as refused:  # mean field's k-hats
    print(f"  {refused}")
assert results["full"].khat.max() < results["mean_field"].khat.max()
assert abs(results["full"].elpd - exact_loo) < 0.3

# A classifier before and after compression.
digits = bitsback.load_data("digits")
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(digits.train.x, digits.train.y), batch_size=128, shuffle=True
)
model = bitsback.models.Gaussian(bitsback.network("digits-mlp"), num_data=len(digits.train))
guide = bitsback.guides.MeanFieldNormal(model)
svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 5e-3}), TraceMeanField_ELBO())
for _epoch in range(25):
    for batch in loader:
        svi.step(*batch)
validation = (digits.validation.x, digits.validation.y)
result = bitsback.compress(
    model.trained(), guide.posterior(), validation=validation, margin_nll=0.02, margin_error=1.0
)

before = diagnostics.predict(model, guide, digits.test.x, num_samples=50)
with torch.no_grad():
    after = torch.softmax(result.network(digits.test.x), -1)
reports = [diagnostics.calibration(p, digits.test.y) for p in (before, after)]
print("\nclassifier        NLL    Brier    ECE")
for name, report in zip(("average over q", "compressed"), reports, strict=True):
    print(f"{name:15} {report.nll.mean():6.3f}  {report.brier.mean():6.3f}  {report.ece:6.3f}")
change = diagnostics.change(*reports)
print(f"change of NLL   {change.nll:6.3f} +- {change.nll_stderr:.3f}")
assert all(report.nll.mean() < 0.5 and report.ece < 0.15 for report in reports)
