"""One model, many approximate posteriors: swap the guide, compress, compare.

Guides that begin with Auto, and NUTS, are Pyro's; the others are bitsback's. `posterior_of` turns
each of them into the `Posterior` that compression reads. docs/guides.md says how they differ. The
network is small, so that NUTS is quick.
"""

import bitsback
import pyro
import torch
from bitsback import guides, models
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    init_to_value,
)
from torch import nn

torch.set_num_threads(1)
pyro.set_rng_seed(0)
data = bitsback.load_data("digits")


def pool(x):
    """4 x 4 images of the digits' 8 x 8."""
    return nn.functional.avg_pool2d(x, 2).flatten(1)


x, y = pool(data.train.x), data.train.y
validation = (pool(data.validation.x), data.validation.y)

net = nn.Sequential(nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
for _step in range(300):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def gaussian():
    return models.Gaussian(net, num_data=len(y), scale=1.0)


def horseshoe():
    return models.Horseshoe(net, num_data=len(y), tau0=1.0)


def centred_horseshoe():
    return models.Horseshoe(net, num_data=len(y), tau0=1.0, centred=True)


def train(model, guide, loss, steps=200, has_bound=True):
    """The guide, and its bound on log p(y | x) in nats, if it has one."""
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.02, "lrd": 0.1 ** (1 / steps)}), loss)
    for _step in range(steps):
        svi.step(x, y)
    bound = -sum(svi.evaluate_loss(x, y) for _ in range(10)) / 10
    return guide, bound if has_bound else None


def start(model):
    """Where Pyro's guides start: at the trained network."""
    return init_to_value(values=model.initial_weights())


def mean_field(model):
    guide = guides.MeanFieldNormal(model, init_scale=0.1)  # swap this line
    return train(model, guide, bitsback.ELBO())


def mean_field_weights(model):
    guide = guides.MeanFieldNormal(model, init_scale=0.1, local_reparameterization=False)
    return train(model, guide, bitsback.ELBO())


def row_normal(model):
    return train(model, guides.RowNormal(model, init_scale=0.1), bitsback.ELBO())


def auto_normal(model):
    guide = AutoNormal(model, init_loc_fn=start(model), init_scale=0.1)
    return train(model, guide, Trace_ELBO())


def auto_low_rank(model):
    guide = AutoLowRankMultivariateNormal(model, init_loc_fn=start(model), init_scale=0.1, rank=10)
    return train(model, guide, Trace_ELBO())


def auto_full(model):
    guide = AutoMultivariateNormal(model, init_loc_fn=start(model), init_scale=0.1)
    return train(model, guide, Trace_ELBO())


def laplace(model):
    guide, _ = train(model, guides.DiagonalLaplace(model), bitsback.ELBO(), steps=100)
    guide.after_training(x, y)
    return guide, None


def kronecker_laplace(model):
    guide, _ = train(model, guides.KroneckerLaplace(model), bitsback.ELBO(), steps=100)
    guide.after_training(x)
    print(f"  log evidence by KroneckerLaplace {guide.log_evidence(x, y):.0f} nats")
    return guide, None


def swag(model, batch=32):
    """At a constant rate, which says how wide SWAG is: stddev about sqrt(rate N / (2 batch))."""
    guide = guides.SWAG(model)
    svi = SVI(model, guide, pyro.optim.SGD({"lr": 5e-4}), bitsback.ELBO())
    for epoch in range(15):
        for index in torch.randperm(len(y)).split(batch):
            svi.step(x[index], y[index])
        if epoch >= 3:
            guide.collect()
    return guide, None


def point(model):
    return train(model, guides.PointMass(model), bitsback.ELBO(), steps=100, has_bound=False)


def auto_delta(model):
    guide = AutoDelta(model, init_loc_fn=start(model))
    return train(model, guide, Trace_ELBO(), steps=100, has_bound=False)


def nuts(model):
    for parameter in model.net.parameters():  # the biases stay as they are
        parameter.requires_grad_(False)
    kernel = NUTS(model, init_strategy=start(model), max_tree_depth=4)
    sampler = MCMC(kernel, num_samples=30, warmup_steps=30, disable_progbar=True)
    sampler.run(x, y)
    return sampler, None


def log_normal(model):
    return train(model, guides.Horseshoe(model), bitsback.ELBO(), steps=120)


def gamma(model):
    return train(model, guides.HorseshoeFamily(model, family="gamma"), bitsback.ELBO(), steps=120)


def log_normal_for_batch(model):
    return train(model, guides.HorseshoeFamily(model), bitsback.ELBO(), steps=120)


def auto_normal_horseshoe(model):
    medians = guides.Horseshoe(model).quantiles(
        [0.5]
    )  # of its sites: scales, and weights over them
    sites = {site: values[0] for site, values in medians.items()}
    guide = AutoNormal(model, init_loc_fn=init_to_value(values=sites), init_scale=0.1)
    return train(model, guide, Trace_ELBO(), steps=120)


GAUSSIAN = (
    mean_field, mean_field_weights, row_normal, auto_normal, auto_low_rank, auto_full, laplace,
    kronecker_laplace, swag, nuts, point, auto_delta,
)  # fmt: skip
HORSESHOE = (log_normal, log_normal_for_batch, gamma, auto_normal_horseshoe)
CENTRED = (log_normal_for_batch, gamma)

print("posterior                  bound  stddev  bytes   kept  validation error")
groups = ((gaussian, GAUSSIAN), (horseshoe, HORSESHOE), (centred_horseshoe, CENTRED))
for new_model, infers in groups:
    print(new_model.__name__)
    for infer in infers:
        pyro.clear_param_store()  # Pyro's guides keep their parameters there by name
        model = new_model()
        source, bound = infer(model)
        posterior = bitsback.posterior_of(source, model)
        result = bitsback.compress(
            model.trained(), posterior, validation=validation, margin_nll=0.02, margin_error=1.0
        )
        stddev = torch.cat([w.stddev.flatten() for w in posterior.weights.values()]).mean().item()
        error = (result.network(validation[0]).argmax(1) != validation[1]).float().mean().item()
        size, kept = len(result.data), result.report["nonzero_fraction"]
        name, shown = infer.__name__, "none" if bound is None else f"{bound:.0f}"
        print(f"  {name:22} {shown:>7} {stddev:7.3f} {size:6} {kept:6.1%} {100 * error:8.1f} %")
        assert error < 0.12 and size < 600, name
