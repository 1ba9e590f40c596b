"""METHODS: each method's prior, approximate posterior, training defaults and source.

A new method is a file in models/, one in guides/ and an entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from torch import nn

from .compression.compress import MARGIN_ERROR, MARGIN_NLL
from .posterior import Posterior


@dataclass(frozen=True)
class Method:
    """One compression method.

    :param name: what the command line calls it.
    :param model: class in bitsback.models.
    :param guide: class in bitsback.guides.
    :param prior: the prior in words.
    :param paper: where it comes from.
    :param proper: whether the prior is a probability density, so that KL is a code length.
    :param defaults: training options and what they mean to `workbench.fit.Options`; a network's
        own entry in `networks` goes before them.
    :param networks: defaults that differ for a registered network.
    :param start: the method whose trained approximate posterior this one starts from; its
        training takes the default `start_epochs`. None: it starts from the trained network.
    :param model_options: arguments of the model.
    :param guide_options: arguments of the guide.
    :param l1: the weight of sum |w| on the mean loss [nats per unit of w]; the scale of the model's
        Laplace prior is then 1 / (num_data * l1). A scale that is the same for all data sets leaves
        a network of zeros where there are few examples. None: the model's own scale.
    :param closed_form: whether KL(q || p) is exact; else it is an unbiased Monte-Carlo estimate,
        another one at each call.
    """

    name: str
    model: str
    guide: str
    prior: str
    paper: str
    proper: bool
    defaults: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    start: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    guide_options: Mapping[str, Any] = field(default_factory=dict)
    l1: float | None = None
    closed_form: bool = True

    def pair(
        self,
        net: nn.Module,
        num_data: int,
        likelihood: str | Callable = "categorical",
        start: Posterior | None = None,
        example: Any = None,
    ) -> tuple[nn.Module, nn.Module]:
        """The model over `net` and its guide, which starts at the weights of `net`.

        :param start: an approximate posterior of the same weights to start from instead.
        :param example: a few inputs, for models that trace a network that has not been traced.
        """
        models, guides = (import_module(f".{m}", __package__) for m in ("models", "guides"))
        model_class = getattr(models, self.model)
        options = dict(self.model_options)
        if self.l1 is not None:
            options["scale"] = 1 / (num_data * self.l1)
        if example is not None and hasattr(model_class, "remove_dead"):
            options["example"] = example
        model = model_class(net, num_data, likelihood=likelihood, **options)
        guide = getattr(guides, self.guide)(model, **self.guide_options)
        if start is not None:
            guide.start_from(start)
        return model, guide

    def settings(self, network: str) -> dict[str, Any]:
        """The training defaults for a network, by name."""
        return {**self.defaults, **self.networks.get(network, {})}


def _training(
    epochs: int, lr: float, kl_warmup: float = 0.0, pretrain_epochs: int = 10,
    batch_size: int = 128, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Defaults of a method: see `workbench.fit.Options` and `compression.compress`."""
    return {
        "pretrain_epochs": pretrain_epochs,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "lr_schedule": "linear",
        "kl_warmup": (0.0, kl_warmup),
        "kl_overshoot": (1.0, 0.0),  # the factor at first, and the share of epochs till it is 1
        "shift": 0,
        "margin_nll": MARGIN_NLL,
        "margin_error": MARGIN_ERROR,
        **more,
    }


def _digits(epochs: int, lr: float, kl_warmup: float = 50.0, **more: Any) -> dict[str, Any]:
    return {"digits-mlp": _training(epochs, lr, kl_warmup, 40, 64, **more)}


_POINTS = _training(30, 1e-3)  # of the baselines that train points from a trained network
_POINTS_DIGITS = _digits(100, 1e-3, 0.0)
_GROUPS, _GROUPS_DIGITS = _training(30, 2e-3, 10.0), _digits(300, 2e-2)
_MIXTURE = {"weight": 0.02, "zero_proportion": 0.999}
# Base of an unneeded weight in a living unit returns to N(0, 1), noise that costs accuracy.
_CAPPED = {"max_scale": 0.4}
_RATE = {"quantiser": "grid", "prune": "none", "beta": 0.2, "coarseness": 0.4}
# A step of one root mean square: with finer ones a layer that starts dense stays dense. A bit more
# for each bias is some 14 bytes, which the default margin saves for up to 0.003 nats an example:
# 30 bytes of labels, at beta = 1. Nor does an error of less than 1 % have 0.2 points to spare.
_RATE_LENETS = {
    **_RATE, "beta": 1.0, "coarseness": 1.0, "margin_nll": 0.001, "margin_error": 0.1
}  # fmt: skip
# Small batches' noise pushes weights across the border between two integers.
# A price that is too high at first prunes what a right one would leave for good. What comes back
# as it falls is worth its bits.
_RATE_LENET_5 = _training(
    75, 5e-3, 5.0, batch_size=512, shift=1, kl_overshoot=(5.0, 2 / 3),
    **_RATE_LENETS | {"beta": 0.65},
)  # fmt: skip
_BITS = {"quantiser": "grid", "prune": "none", "cost": 0.1}
_BC = "Louizos, Ullrich and Welling 2017, Bayesian Compression for Deep Learning"
_WITH_MIXTURE = "the groups of Louizos et al. 2017 with the mixture of Federici et al. 2017"

# Guides that belong to no method: for models of one's own script (docs/guides.md). The factors of
# RowNormal are too large for the reference networks, SWAG needs a training loop of its own, and
# HorseshoeFamily has noisier gradients than Horseshoe.
SWAP_ONLY = ("RowNormal", "SWAG", "HorseshoeFamily", "KroneckerLaplace")

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="log-uniform",
            model="LogUniform",
            guide="MeanFieldNormal",
            prior="p(w) proportional to 1/|w| (improper)",
            paper="Molchanov, Ashukha and Vetrov 2017, Variational Dropout Sparsifies DNNs",
            proper=False,
            defaults=_training(100, 2e-3, 10.0),
            networks={
                "lenet-300-100": {
                    "epochs": 200,
                    "shift": 1,
                    "margin_nll": 0.01,
                    "margin_error": 0.3,
                },
                "lenet-5-caffe": {
                    "pretrain_epochs": 5,
                    "epochs": 60,
                    "lr": 3e-3,
                    "kl_warmup": (0.0, 8.0),
                },
                **_digits(300, 2e-2),
            },
        ),
        Method(
            name="gaussian",
            model="Gaussian",
            guide="MeanFieldNormal",
            prior="p(w) = N(0, 0.4^2)",
            paper="Blundell et al. 2015, Weight Uncertainty in Neural Networks (one component)",
            proper=True,
            defaults=_training(60, 5e-3, 10.0),
            networks=_digits(200, 5e-3),
            model_options={"scale": 0.4},
        ),
        Method(
            name="hard-concrete",
            model="HardConcrete",
            guide="HardConcreteGates",
            prior="w = gate base, 1 nat for each weight that an open gate lets through",
            paper="Louizos, Welling and Kingma 2018, Learning Sparse Neural Networks (L0)",
            proper=False,
            defaults=_training(100, 2e-3, 10.0),
            networks=_digits(200, 1e-2),
            # The published price, 0.1, keeps half of all weights of LeNet-300-100 in 30 epochs.
            model_options={"cost": 1.0},
        ),
        Method(
            name="bayesian-bits",
            model="BayesianBits",
            guide="GateChain",
            prior="chains of gates: 0.1 nats for each example, bit and share of the largest MACs",
            paper="van Baalen et al. 2020, Bayesian Bits: Unifying Quantization and Pruning",
            proper=False,
            defaults=_training(100, 1e-3, **_BITS),
            networks=_digits(80, 1e-2, 0.0, **_BITS),
        ),
        Method(
            name="normal-jeffreys",
            model="NormalJeffreys",
            guide="NormalJeffreys",
            prior="w = z base, p(z) proportional to 1/|z| for each unit (improper), base ~ N(0, 1)",
            paper=f"{_BC} (GNJ)",
            proper=False,
            defaults=_GROUPS,
            networks=_GROUPS_DIGITS,
            guide_options=_CAPPED,
        ),
        Method(
            name="horseshoe",
            model="Horseshoe",
            guide="Horseshoe",
            prior="w = z s base, z ~ C+(0, 1) for each unit, s ~ C+(0, 1e-5), base ~ N(0, 1)",
            paper=f"{_BC} (GHS)",
            proper=True,
            defaults=_GROUPS,
            networks=_GROUPS_DIGITS,
            guide_options=_CAPPED,
        ),
        Method(
            name="scale-mixture",
            model="ScaleMixture",
            guide="MeanFieldNormal",
            prior="p(w) = pi N(0, sigma1^2) + (1 - pi) N(0, sigma2^2)",
            paper="Blundell et al. 2015, Weight Uncertainty in Neural Networks",
            proper=True,
            defaults=_training(60, 6e-3, 10.0),
            networks=_digits(200, 5e-3),
            closed_form=False,
        ),
        Method(
            name="soft-sharing",
            model="SoftSharing",
            guide="SharedPoints",
            prior="p(w) = a learned mixture of 17 Gaussians, one of them at zero",
            paper="Ullrich, Meeds and Welling 2017, Soft Weight-Sharing for Compression",
            proper=True,
            defaults=_training(60, 1e-3),
            networks=_digits(200, 5e-3, 0.0),
        ),
        Method(
            name="log-uniform-mixture",
            model="LogUniform",
            guide="MeanFieldNormal",
            prior="p(w) proportional to 1/|w| (improper); E_q[w] drawn to a learned mixture",
            paper="Federici, Ullrich and Welling 2017, Improved Bayesian Compression",
            proper=False,
            defaults=_training(30, 1e-3, start_epochs=70),
            networks={
                "lenet-300-100": {"start_epochs": 140, "epochs": 60},
                "lenet-5-caffe": {"pretrain_epochs": 5, "start_epochs": 42, "epochs": 18},
                **_digits(90, 5e-3, 0.0, start_epochs=210),
            },
            start="log-uniform",
            model_options={"mixture": _MIXTURE},
        ),
        Method(
            name="normal-jeffreys-mixture",
            model="NormalJeffreys",
            guide="NormalJeffreys",
            prior="normal-jeffreys; E_q[w] drawn to a learned mixture",
            paper=_WITH_MIXTURE,
            proper=False,
            defaults=_GROUPS,
            networks=_GROUPS_DIGITS,
            model_options={"mixture": _MIXTURE},
            guide_options=_CAPPED,
        ),
        Method(
            name="horseshoe-mixture",
            model="Horseshoe",
            guide="Horseshoe",
            prior="horseshoe; E_q[w] drawn to a learned mixture",
            paper=_WITH_MIXTURE,
            proper=True,
            defaults=_GROUPS,
            networks=_GROUPS_DIGITS,
            model_options={"mixture": _MIXTURE},
            guide_options=_CAPPED,
        ),
        Method(
            name="deterministic",
            model="Gaussian",
            guide="PointMass",
            prior="p(w) = N(0, 1): L2 regularisation",
            paper="maximum a posteriori; the baseline, and the start of the other methods",
            proper=True,
            defaults=_training(20, 1e-3, pretrain_epochs=0),
            networks={"digits-mlp": {"epochs": 40, "batch_size": 64}},
            model_options={"scale": 1.0},
        ),
        Method(
            name="magnitude",
            model="Gaussian",
            guide="MagnitudePruned",
            prior="p(w) = N(0, 1): L2 regularisation",
            paper="Han et al. 2015, Learning both Weights and Connections",
            proper=True,
            defaults=_POINTS,
            networks=_POINTS_DIGITS,
            model_options={"scale": 1.0},
            guide_options={"kept": 0.1, "per_layer": False},
        ),
        Method(
            name="magnitude-l1",
            model="Laplace",
            guide="MagnitudePruned",
            prior="p(w) = Laplace(0, 5500 / num_data): L1 regularisation",
            paper="Han et al. 2015, Learning both Weights and Connections",
            proper=True,
            defaults=_training(30, 3e-3),
            networks=_POINTS_DIGITS,
            guide_options={"kept": 0.1, "per_layer": False},
            l1=1 / 5500,  # a scale of 0.1 for the 55,000 training images of MNIST
        ),
        Method(
            name="obd",
            model="Gaussian",
            guide="DiagonalLaplace",
            prior="p(w) = N(0, 1): L2 regularisation",
            paper="LeCun, Denker and Solla 1990, Optimal Brain Damage",
            proper=True,
            defaults=_POINTS,
            networks=_POINTS_DIGITS,
            model_options={"scale": 1.0},
        ),
        Method(
            name="dropout",
            model="Gaussian",
            guide="BernoulliDropout",
            prior="p(w) = N(0, 1): L2 regularisation",
            paper="Gal and Ghahramani 2016, Dropout as a Bayesian Approximation",
            proper=True,
            defaults=_POINTS,
            networks=_POINTS_DIGITS,
            model_options={"scale": 1.0},
            guide_options={"p": 0.3, "first": 0.0},
        ),
        Method(
            name="low-rank",
            model="Gaussian",
            guide="LowRank",
            prior="p(w) = N(0, 1) of the product: L2 regularisation",
            paper="Denton et al. 2014, Exploiting Linear Structure Within Convolutional Networks",
            proper=True,
            defaults=_POINTS,
            networks=_POINTS_DIGITS,
            model_options={"scale": 1.0},
        ),
        Method(
            name="random-projection",
            model="Gaussian",
            guide="RandomProjection",
            prior="p(w) = N(0, 1) of the product: L2 regularisation",
            paper="Achlioptas 2003, Database-friendly random projections; the reviews of Han 2015",
            proper=True,
            defaults=_POINTS,
            networks=_POINTS_DIGITS,
            model_options={"scale": 1.0},
        ),
        Method(
            name="rate",
            model="Rate",
            guide="Rounding",
            prior="w = step x integer; p(integer) is the coder's own probability model",
            paper="Oktay et al. 2020, Scalable Model Compression by Entropy Penalized "
            "Reparameterization",
            proper=True,
            defaults=_training(100, 4e-3, 10.0, **_RATE),
            networks={
                **_digits(200, 1e-2, **_RATE),
                "lenet-5-caffe": _RATE_LENET_5,
                "lenet-5-caffe-relu": _RATE_LENET_5,
                "lenet-300-100": _training(100, 4e-3, 5.0, shift=1, **_RATE_LENETS | {"beta": 0.5}),
            },
        ),
    )
}
