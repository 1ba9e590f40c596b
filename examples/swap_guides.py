"""One Gaussian model, four approximate posteriors: swap the guide, compress, compare.

MeanFieldNormal is bitsback's; AutoNormal, AutoLowRankMultivariateNormal and NUTS are Pyro's.
`posterior_of` makes of each what compression needs. The network is small, so that NUTS is quick.
"""

import bitsback
import pyro
import torch
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoLowRankMultivariateNormal, AutoNormal, init_to_value
from torch import nn

torch.set_num_threads(1)
pyro.set_rng_seed(0)
data = bitsback.load_data("digits")


def pool(x):
    """4 x 4 images of the digits' 8 x 8."""
    return nn.functional.avg_pool2d(x, 2).flatten(1)


x, y = pool(data.train.x), data.train.y
validation = (pool(data.validation.x), data.validation.y)
test_x, test_y = pool(data.test.x), data.test.y

net = nn.Sequential(nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
for _step in range(300):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def new_model():
    return bitsback.models.Gaussian(net, num_data=len(y), scale=1.0)


def train(model, guide, loss, steps):
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.01}), loss)
    for _step in range(steps):
        svi.step(x, y)
    return guide


def mean_field(model):
    return train(model, bitsback.guides.MeanFieldNormal(model), TraceMeanField_ELBO(), 300)


def auto_normal(model):
    start = init_to_value(values=model.initial_weights())
    return train(model, AutoNormal(model, init_loc_fn=start, init_scale=0.05), Trace_ELBO(), 400)


def auto_low_rank(model):
    start = init_to_value(values=model.initial_weights())
    guide = AutoLowRankMultivariateNormal(model, init_loc_fn=start, init_scale=0.05, rank=4)
    return train(model, guide, Trace_ELBO(), 400)


def nuts(model):
    start = init_to_value(values=model.initial_weights())
    for point in model.net.parameters():  # the biases stay as they are
        point.requires_grad_(False)
    kernel = NUTS(model, init_strategy=start, max_tree_depth=4)
    sampler = MCMC(kernel, num_samples=40, warmup_steps=40, disable_progbar=True)
    sampler.run(x, y)
    return sampler


print("posterior         bytes  ratio  kept   test error")
for infer in (mean_field, auto_normal, auto_low_rank, nuts):  # swap this line
    model = new_model()
    posterior = bitsback.posterior_of(infer(model), model)
    result = bitsback.compress(
        model.trained(), posterior, validation=validation, margin_nll=0.02, margin_error=1.0
    )
    error = (result.network(test_x).argmax(1) != test_y).float().mean().item()
    ratio, kept = result.report["ratio"], result.report["nonzero_fraction"]
    name = infer.__name__
    print(f"{name:16} {len(result.data):6} {ratio:6.1f} {kept:6.1%} {100 * error:8.1f} %")
    assert error < 0.12 and ratio > 3, name
