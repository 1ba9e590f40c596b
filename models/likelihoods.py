"""What the network's output means: p(y | x, w) from the output of the network."""

from collections.abc import Callable
from functools import partial

from pyro.distributions import Bernoulli, Categorical, Distribution, Normal
from torch import Tensor

Likelihood = Callable[[Tensor], Distribution]


def categorical(output: Tensor) -> Distribution:
    """Class labels; output holds logits, shape `(batch, ..., classes)`, labels `(batch, ...)`.

    By the name "categorical" a model also takes logits `(batch, classes, ...)`, as torch's
    `cross_entropy` does, and goes by the shape of the first labels that it sees. Until then, and
    where labels fit both, the classes are on the last axis.
    """
    return Categorical(logits=output).to_event(output.dim() - 2)


def bernoulli(output: Tensor) -> Distribution:
    """Binary labels; output holds logits, of the labels' shape `(batch, ...)`."""
    return Bernoulli(logits=output).to_event(output.dim() - 1)


def normal(output: Tensor, scale: float = 1.0) -> Distribution:
    """Real values with noise of a known scale; output holds means, of the values' shape.

    For another scale: `likelihood=functools.partial(normal, scale=0.1)`. The scale says what the
    labels are worth against the prior: with a scale far above the network's residuals the
    posterior forgets what the network has learned.
    """
    return Normal(output, scale).to_event(output.dim() - 1)


LIKELIHOODS: dict[str, Likelihood] = {
    "categorical": categorical,
    "bernoulli": bernoulli,
    "normal": normal,
}


def name_of(likelihood: Likelihood) -> str | None:
    """The name of a likelihood, whatever its noise; None for a function of the user's."""
    plain = likelihood.func if isinstance(likelihood, partial) else likelihood
    return next((name for name, known in LIKELIHOODS.items() if known is plain), None)
