"""METHODS: each method's prior, approximate posterior, training defaults and source.

A new method is a file in models/, one in guides/ and an entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from torch import nn

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

    def pair(
        self,
        net: nn.Module,
        num_data: int,
        likelihood: str | Callable = "categorical",
        start: Posterior | None = None,
    ) -> tuple[nn.Module, nn.Module]:
        """The model over `net` and its guide, which starts at the weights of `net`.

        :param start: an approximate posterior of the same weights to start from instead.
        """
        models, guides = (import_module(f".{m}", __package__) for m in ("models", "guides"))
        model_class = getattr(models, self.model)
        model = model_class(net, num_data, likelihood=likelihood, **self.model_options)
        guide = getattr(guides, self.guide)(model, **self.guide_options)
        if start is not None:
            guide.start_from(start)
        return model, guide

    def settings(self, network: str) -> dict[str, Any]:
        """The training defaults for a network, by name."""
        return {**self.defaults, **self.networks.get(network, {})}


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
            defaults={
                "pretrain_epochs": 10,
                "epochs": 100,
                "batch_size": 128,
                "lr": 2e-3,
                "lr_schedule": "linear",
                "kl_warmup": (0.0, 10.0),
            },
            networks={
                "lenet-300-100": {"epochs": 200},
                "lenet-5-caffe": {
                    "pretrain_epochs": 5,
                    "epochs": 60,
                    "lr": 3e-3,
                    "kl_warmup": (0.0, 8.0),
                },
                "digits-mlp": {
                    "pretrain_epochs": 40,
                    "epochs": 300,
                    "batch_size": 64,
                    "lr": 2e-2,
                    "kl_warmup": (0.0, 50.0),
                },
            },
        ),
        Method(
            name="gaussian",
            model="Gaussian",
            guide="MeanFieldNormal",
            prior="p(w) = N(0, 4 / fan-in)",
            paper="Blundell et al. 2015, Weight Uncertainty in Neural Networks (one component)",
            proper=True,
            defaults={
                "pretrain_epochs": 10,
                "epochs": 60,
                "batch_size": 128,
                "lr": 1e-3,
                "lr_schedule": "linear",
                "kl_warmup": (0.0, 0.0),
            },
            networks={
                "digits-mlp": {
                    "pretrain_epochs": 40,
                    "epochs": 200,
                    "batch_size": 64,
                    "lr": 5e-3,
                    "kl_warmup": (0.0, 50.0),
                }
            },
        ),
        Method(
            name="normal-jeffreys",
            model="NormalJeffreys",
            guide="NormalJeffreys",
            prior="w = z base, p(z) proportional to 1/|z| for each unit (improper), base ~ N(0, 1)",
            paper="Louizos, Ullrich and Welling 2017, Bayesian Compression for Deep Learning (GNJ)",
            proper=False,
            defaults={
                "pretrain_epochs": 10,
                "epochs": 30,
                "batch_size": 128,
                "lr": 2e-3,
                "lr_schedule": "linear",
                "kl_warmup": (0.0, 10.0),
            },
            networks={
                "digits-mlp": {
                    "pretrain_epochs": 40,
                    "epochs": 300,
                    "batch_size": 64,
                    "lr": 2e-2,
                    "kl_warmup": (0.0, 50.0),
                },
            },
        ),
        Method(
            name="horseshoe",
            model="Horseshoe",
            guide="Horseshoe",
            prior="w = z s base, z ~ C+(0, 1) for each unit, s ~ C+(0, 1e-5), base ~ N(0, 1)",
            paper="Louizos, Ullrich and Welling 2017, Bayesian Compression for Deep Learning (GHS)",
            proper=True,
            defaults={
                "pretrain_epochs": 10,
                "epochs": 30,
                "batch_size": 128,
                "lr": 2e-3,
                "lr_schedule": "linear",
                "kl_warmup": (0.0, 10.0),
            },
            networks={
                "digits-mlp": {
                    "pretrain_epochs": 40,
                    "epochs": 300,
                    "batch_size": 64,
                    "lr": 2e-2,
                    "kl_warmup": (0.0, 50.0),
                },
            },
        ),
        Method(
            name="deterministic",
            model="Gaussian",
            guide="PointMass",
            prior="p(w) = N(0, 1): L2 regularisation",
            paper="maximum a posteriori; the baseline, and the start of the other methods",
            proper=True,
            defaults={
                "pretrain_epochs": 0,
                "epochs": 20,
                "batch_size": 128,
                "lr": 1e-3,
                "lr_schedule": "linear",
                "kl_warmup": (0.0, 0.0),
            },
            networks={"digits-mlp": {"epochs": 40, "batch_size": 64}},
            model_options={"scale": 1.0},
        ),
    )
}
