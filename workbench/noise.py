"""The noise of real-valued labels, as a trained network's residuals show it."""

from functools import partial

import torch
from torch import nn

from ..models.likelihoods import Likelihood, normal
from ..training.evaluation import Split, predict

LEAST = 0.01  # of the labels' standard deviation: residuals below it are those of a lucky sample


def with_noise(net: nn.Module, split: Split) -> str | Likelihood:
    """The likelihood of a split's labels; that of real values with noise of an estimated scale.

    The scale is the root mean square of the network's residuals there (empirical Bayes), at least
    `LEAST` standard deviations of the labels. Noise of scale 1 would say that labels in units of
    their standard deviation are mostly noise, so that the prior would win over a network that
    predicts them well.

    :param net: as training begins with it, pre-trained or given.
    :param split: validation data: a network that has learned the training data by heart has no
        residuals there.
    """
    if split.likelihood != "normal":
        return split.likelihood
    y = split.y.double()
    output = predict(net, split.x).cpu().double()
    residual = (output.reshape(y.shape) - y).square().mean().sqrt()
    if not residual.isfinite():
        return split.likelihood  # training says what is wrong
    return partial(
        normal, scale=max(residual, LEAST * y.std(correction=0), torch.tensor(1e-6)).item()
    )
