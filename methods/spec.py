"""`Method`: all that makes a method in one place, from which command line and runs are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .options import Option

if TYPE_CHECKING:
    from torch import nn

    from ..posterior import Posterior
    from .hooks import Hooks

SMALL_NETWORK = "digits-mlp"  # whose presets small data sets of the user's own take
SMALL_DATA = 10_000  # training examples, below which a data set is small
SMALL_UPDATES = 18  # in an epoch of `SMALL_NETWORK`: 1,197 examples in batches of 64


def _small_batch(examples: int) -> int:
    """A power of 2, 8 or more, by which an epoch has about `SMALL_UPDATES` updates."""
    return max(8, 1 << (max(examples // SMALL_UPDATES, 1).bit_length() - 1))


def _nothing_wrong(given: Mapping[str, Any]) -> None:
    """Most options have nothing to do with one another."""


def _as_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are arguments of the model by the same name."""
    return dict(given)


@dataclass(frozen=True)
class Method:
    """One compression method.

    :param name: what the command line calls it.
    :param model: class in bitsback.models.
    :param guide: class in bitsback.guides.
    :param prior: the prior in words.
    :param paper: where it comes from.
    :param proper: whether the prior is a probability density, so that KL is a code length.
    :param defaults: training options and what they mean to `training.Options`; a network's own
        entry in `networks` goes before them.
    :param networks: presets that differ for a registered network.
    :param start: the method whose trained approximate posterior this one starts from; its
        training takes the default `start_epochs`. None: it starts from the trained network.
    :param model_options: arguments of the model.
    :param guide_options: arguments of the guide.
    :param l1: the weight of sum |w| on the mean loss [nats per unit of w]; the scale of the model's
        Laplace prior is then 1 / (num_data * l1). A scale that is the same for all data sets leaves
        a network of zeros where there are few examples. None: the model's own scale.
    :param tuned: arguments of the model that `defaults` and `networks` have values of.
    :param closed_form: whether KL(q || p) is exact; else it is an unbiased Monte-Carlo estimate,
        another one at each call.
    :param options: what the command line offers for this method beside what all have.
    :param check: refuses options, those given by name, that make no sense together (ValueError).
    :param arguments: the model's arguments for the options that are given.
    :param of_guide: names of the options that are arguments of the guide instead.
    :param hooks: the class that adds to a run, as "module.Class" in this folder; see `hooks.Hooks`.
    :param given: the options of a run, by name; see `configured`.
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
    tuned: tuple[str, ...] = ()
    closed_form: bool = True
    options: tuple[Option, ...] = ()
    check: Callable[[Mapping[str, Any]], None] = _nothing_wrong
    arguments: Callable[[Mapping[str, Any]], dict[str, Any]] = _as_given
    of_guide: tuple[str, ...] = ()
    hooks: str = "hooks.Hooks"
    given: Mapping[str, Any] = field(default_factory=dict)

    def pair(
        self,
        net: nn.Module,
        num_data: int,
        likelihood: str | Callable = "categorical",
        start: Posterior | None = None,
        example: Any = None,
    ) -> tuple[nn.Module, nn.Module]:
        """The model over `net` and its guide, which starts at the weights of `net`.

        The model has the arguments that the command gives it for a network without presets, or
        those of `configured`.

        :param start: an approximate posterior of the same weights to start from instead.
        :param example: a few inputs, for models that trace a network that has not been traced.
        """
        models, guides = (import_module(f"..{m}", __package__) for m in ("models", "guides"))
        model_class = getattr(models, self.model)
        options = self._tuned(self.defaults) | dict(self.model_options)
        if self.l1 is not None:
            options["scale"] = 1 / (num_data * self.l1)
        if example is not None and hasattr(model_class, "remove_dead"):
            options["example"] = example
        model = model_class(net, num_data, likelihood=likelihood, **options)
        guide = getattr(guides, self.guide)(model, **self.guide_options)
        if start is not None:
            guide.start_from(start)
        return model, guide

    def settings(self, network: str | None, examples: int | None = None) -> dict[str, Any]:
        """The training defaults, by name.

        :param network: the name of a registered network; others have no presets.
        :param examples: training examples of a data set of the user's own; one with fewer than
            `SMALL_DATA` has the presets of `SMALL_NETWORK`, in batches so small that an epoch has
            about as many updates as there.
        """
        small = examples is not None and examples < SMALL_DATA and network not in self.networks
        own = self.networks.get(SMALL_NETWORK if small else network, {})
        found = {**self.defaults, **own}
        if small:
            found["batch_size"] = min(found["batch_size"], _small_batch(examples))
        return found

    def configured(
        self, given: Mapping[str, Any], network: str | None = None, examples: int | None = None
    ) -> Method:
        """This method with the options of a run, those of `options` that are given, by name.

        :raises ValueError: for a value out of range, or options that make no sense together.
        """
        self.check_given(given)
        own = {name: value for name, value in given.items() if name in self.of_guide}
        others = {name: value for name, value in given.items() if name not in own}
        chosen = self._tuned(self.settings(network, examples)) | self.arguments(others)
        return replace(
            self,
            model_options={**self.model_options, **chosen},
            guide_options={**self.guide_options, **own},
            given=dict(given),
        )

    def check_given(self, given: Mapping[str, Any]) -> None:
        """:raises ValueError: see `configured`."""
        for option in self.options:
            if option.name in given:
                option.check(given[option.name])
        self.check(given)

    def hooked(self) -> Hooks:
        """What the method adds to a run."""
        module, _, name = self.hooks.partition(".")
        return getattr(import_module(f".{module}", __package__), name)(self)

    def _tuned(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: settings[name] for name in self.tuned if name in settings}
