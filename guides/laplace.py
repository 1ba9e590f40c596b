"""The diagonal Laplace approximation, whose signal-to-noise ratio is the saliency of optimal brain
damage.

LeCun, Denker and Solla 1990: deleting a weight raises the loss by about H w^2 / 2, H the diagonal
of its Hessian at the minimum. MacKay 1992: the posterior is about N(w, 1 / H). So the saliency is
half the squared signal-to-noise ratio, in nats.
"""

from functools import partial

import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from ..posterior import Posterior, WeightPosterior
from .curvature import fisher_diagonal
from .mean_field import PointMass

EXAMPLES = 2_000  # of the training data, for the curvature


class DiagonalLaplace(PointMass):
    """q(w) = N(loc, 1 / H): loc is trained as a point, H is found once training is over.

    H = num_data * E_x E_{y ~ p(y|x,w)} (d log p(y | x, w) / dw)^2 + 1 / prior scale^2 for each
    weight: the Hessian of the loss [nats for the data set] in its Gauss-Newton (Fisher) form, which
    is never negative (see `curvature.fisher_diagonal`). E_x is over a fixed random `EXAMPLES` of
    the training data. Until `after_training` H holds the prior alone.

    :param model: `models.Gaussian`; the points start at its network's weights.
    :raises ValueError: for a model whose prior is not normal.
    """

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self._model = [model]  # out of sight of nn.Module: its parameters are not the guide's
        self._add("curvature", self._prior_precision(), trained=False)

    def _prior_precision(self) -> dict[str, Tensor]:
        precision = {}
        for name, weight in self._model[0].initial_weights().items():
            prior = self._model[0].prior(name, weight)
            if not isinstance(prior, Normal):
                raise ValueError(
                    f"DiagonalLaplace needs a normal prior, whose curvature adds to the data's; "
                    f"that of {name!r} is {type(prior).__name__}: use models.Gaussian"
                )
            precision[name] = prior.scale**-2
        return precision

    @torch.no_grad()
    def after_training(self, x: Tensor, y: Tensor) -> None:
        """Find the curvature at the points on inputs x, shape `(N, ...)`; labels are not used."""
        model = self._model[0]
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(x), generator=generator)[:EXAMPLES].to(x.device)
        net = model.trained().to(x.device).eval()
        likelihood = partial(model.likelihood_of, y=None)  # it knows where the classes are
        fisher = fisher_diagonal(net, likelihood, self.median(), x[chosen])
        for name, precision in self._prior_precision().items():
            self._get("curvature", name).copy_(model.num_data * fisher[name] + precision)

    @torch.no_grad()
    def quantiles(self, quantiles, *args, **kwargs) -> dict[str, Tensor]:
        """Quantiles of each weight, by name; shape `(len(quantiles), *weight.shape)`."""
        result = {}
        for name, loc in self.median().items():
            levels = torch.as_tensor(list(quantiles), dtype=loc.dtype, device=loc.device)
            q = Normal(loc, self._get("curvature", name).rsqrt())
            result[name] = q.icdf(levels.reshape(-1, *[1] * loc.dim()))
        return result

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """loc, stddev = H^-1/2 and log_alpha = -log(H loc^2) = -log(2 saliency)."""
        weights = {}
        for name, loc in self.median().items():
            curvature = self._get("curvature", name)
            weights[name] = WeightPosterior(
                loc=loc.clone(),
                stddev=curvature.rsqrt(),
                inclusion=torch.ones(()),
                log_alpha=-(curvature.log() + 2 * loc.abs().log()),
            )
        return Posterior(weights)
