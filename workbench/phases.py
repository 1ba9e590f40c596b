"""The pair of the main job, trained: pre-training, the method it starts from, rounds, targets."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import nn

from ..common.examples import arguments
from ..common.modes import evaluating
from ..graph import trace
from ..graph.depth import rate_for
from ..graph.errors import Untraceable
from ..guides.elbo import ELBO
from ..methods import METHODS, PRETRAINING, Method
from ..methods.hooks import Trained as TrainedPair
from ..posterior import Posterior
from ..training import Options, fit
from ..training.options import SMALL_BATCH
from ..training.trained import load_guide, save_guide
from .data import Dataset
from .kept import about, examples_of
from .noise import with_noise
from .settings import MOST_EFFORT, Settings

_COMPRESSION = (
    "threshold",
    "prune",
    "margin_nll",
    "margin_error",
    "quantiser",
    "clusters",
    "effort",
)
_STEP = {"auto": "auto", "yes": "compiled", "no": "eager"}


class Trained(NamedTuple):
    """A trained pair.

    :param net: the network with trained point parameters and the posterior means.
    :param given: the network that the training of the pair began with; None if it is not known.
    """

    net: nn.Module
    model: nn.Module
    guide: nn.Module
    given: nn.Module | None


def train_pair(
    net: nn.Module, method: Method, data: Dataset, settings: Settings, console: Console
) -> Trained:
    """Pre-training, the method it starts from, and its own training, as the settings say.

    :param net: with `settings.weights` in it, if there are any; it is then not pre-trained.
    """
    if settings.load_guide is not None:
        return _load(net, method, data, settings)
    examples, epochs = examples_of(settings, data), phases_of(method, data, settings)
    options = options_of(method, method.settings(settings.network, examples), settings)
    start = None
    if "pretrain" in epochs:
        short = replace(
            options,
            epochs=epochs["pretrain"],
            batch_size=min(options.batch_size, SMALL_BATCH),
            lr=1e-3,
            lr_schedule="linear",
            kl_warmup=(0.0, 0.0),
            kl_overshoot=(1.0, 0.0),
        )
        net = _fit(net, METHODS[PRETRAINING], data, settings, short, console, "pretrain").net
    net = given = traced(net, data, console).to(settings.device)
    options = _for_depth(options, method, net, settings)
    if "start" in epochs:
        first = METHODS[method.start]
        longer = options_of(first, first.settings(settings.network, examples), settings)
        longer = replace(_for_depth(longer, first, net, settings), epochs=epochs["start"])
        options = replace(options, epochs=epochs["train"])
        first_pair = _fit(net, first, data, settings, longer, console, "start")
        net, start = first_pair.net, first_pair.guide.posterior()
    trained = _fit(net, method, data, settings, options, console, "train", start)
    return trained._replace(given=given)


def _for_depth(options: Options, method: Method, net: nn.Module, settings: Settings) -> Options:
    """The options, at the learning rate that a deep network needs unless one was chosen."""
    if settings.lr is not None or settings.network in method.networks:
        return options
    return replace(options, lr=options.lr * rate_for(net))


def phases_of(method: Method, data: Dataset, settings: Settings) -> dict[str, int]:
    """The epochs of each phase of the training, in order: "pretrain", "start", "train".

    A phase that there is not is left out.
    """
    defaults = method.settings(settings.network, examples_of(settings, data))
    pretrain, own = settings.pretrain_epochs, settings.epochs or defaults["epochs"]
    pretrain = defaults["pretrain_epochs"] if pretrain is None else pretrain
    found = {}
    if settings.weights is None and pretrain and method.name != PRETRAINING:
        found["pretrain"] = pretrain
    if method.start:
        found["start"], own = _phases(defaults, settings.epochs)
    return found | {"train": own}


def traced(net: nn.Module, data: Dataset, console: Console) -> nn.Module:
    """The network as a graph; as it is, with a word, where it cannot be traced."""
    try:
        return trace(net, arguments(net, data.train.example()))
    except Untraceable as error:
        console.print(f"no graph, so no units are removed: {error}", highlight=False, markup=False)
        return net


def kl_of(model: nn.Module, guide: nn.Module, data: Dataset, device: str, draws: int) -> float:
    """KL(q || p) [nats] of the pair as it is; where it is no closed form, the mean of `draws`."""
    x, y = data.train.example(device), data.train.y[:2].to(device)
    with evaluating(model), torch.no_grad():
        found = [ELBO().terms(model, guide, x, y).total_kl.item() for _ in range(draws)]
    return sum(found) / draws


def _load(net: nn.Module, method: Method, data: Dataset, settings: Settings) -> Trained:
    """The same of a pair that was trained before."""
    x = data.train.example()
    net = traced(net, data, Console(quiet=True))
    model, guide = method.pair(net, len(data.train), data.likelihood, example=x)
    load_guide(settings.load_guide, model, guide)
    model.eval()  # so that BatchNorm statistics stay as they were trained
    try:
        with torch.no_grad():
            ELBO().terms(model, guide, x, data.train.y[:2])
    except ValueError as error:  # Pyro refuses what is not finite, in many lines
        reason = str(error).splitlines()[0]
        raise ValueError(f"{settings.load_guide}: gives no finite outputs ({reason})") from None
    net = with_means(model.trained(), guide.posterior())
    if data.likelihood == "normal":
        model.likelihood = with_noise(net, data.validation)
    return Trained(net, model, guide, None)


def _phases(defaults: dict[str, Any], epochs: int | None) -> tuple[int, int]:
    """Epochs of the method that another starts from, and of its own.

    :param epochs: of both together, shared out as the defaults are; None: the defaults.
    """
    first, own = defaults["start_epochs"], defaults["epochs"]
    if epochs is None:
        return first, own
    first = max(1, min(round(epochs * first / (first + own)), epochs - 1))
    return first, max(1, epochs - first)


def options_of(method: Method, defaults: dict[str, Any], settings: Settings) -> Options:
    given = {k: getattr(settings, k) for k in ("epochs", "batch_size", "lr")}
    chosen = {k: v if v is not None else defaults[k] for k, v in given.items()}
    warmup = defaults["kl_warmup"]
    if settings.kl_warmup is not None:
        warmup = (0.0, float(settings.kl_warmup))
    factor, share = defaults["kl_overshoot"]
    if not method.hooked().overshoots:
        factor = 1.0  # what moves the price of bits would work against it
    return Options(
        **chosen,
        lr_schedule=defaults["lr_schedule"],
        kl_warmup=warmup,
        kl_overshoot=(factor, share * chosen["epochs"]),
        shift=shift_of(defaults, settings),
        flip=settings.flip,
        seed=settings.seed,
        step=_STEP[settings.compile],
    )


def shift_of(defaults: dict[str, Any], settings: Settings) -> int:
    """By how many pixels training images are moved at most."""
    return defaults.get("shift", 0) if settings.shift is None else settings.shift


def _fit(
    net: nn.Module, method: Method, data: Dataset, settings: Settings,
    options: Options, console: Console, phase: str, start: Posterior | None = None,
) -> Trained:  # fmt: skip
    device = settings.device
    example = data.train.example(device)
    net = net.to(device)
    likelihood = data.likelihood if phase == "pretrain" else with_noise(net, data.validation)
    model, guide = method.pair(net, len(data.train), likelihood, start, example)
    model, guide = model.to(device), guide.to(device)
    train, validation = (part.to(device) for part in (data.train, data.validation))
    hooks, target = method.hooked(), None
    hooks.prepare(model, train[0])
    if phase == "train":
        compression = {
            # With the label, as the names of reference networks make their files shorter.
            **compression_options(method, settings, examples_of(settings, data)),
            "label": settings.label, "coder": settings.coder, "likelihood": data.likelihood,
        }  # fmt: skip
        target = hooks.target(model, guide, data.validation, options, compression)
    for number in range(guide.rounds):
        guide.before_round(number)
        share = replace(options, epochs=_epochs(options.epochs, guide.rounds, number))
        title = phase if guide.rounds == 1 else f"{phase}-{number + 1}"
        history = fit(
            model,
            guide,
            train,
            validation=validation,
            options=share,
            checkpoint_file=settings.resume / f"{title}.checkpoint" if settings.resume else None,
            force_resume=settings.force_resume,
            console=console,
            title=title,
            each_epoch=target,
        )
    guide.after_training(*train)
    hooks.finish(
        TrainedPair(
            model,
            guide,
            train,
            validation,
            options,
            history,
            target is not None,
            console,
            phase,
            settings.effort or MOST_EFFORT,
        )
    )
    if settings.save_guide is not None and phase == "train":
        save_guide(settings.save_guide, model, guide, about(settings))
    net = with_means(model.trained(), guide.posterior())
    if data.likelihood == "normal":
        model.likelihood = with_noise(net, data.validation)
    return Trained(net, model, guide, None)


def _epochs(total: int, rounds: int, number: int) -> int:
    """The epochs of a round, so that all rounds together take `total` (at least one each)."""
    return max(1, total * (number + 1) // rounds - total * number // rounds)


def compression_options(
    method: Method, settings: Settings, examples: int | None = None
) -> dict[str, Any]:
    """Options of `compress`: those given, else the method's for the network, else its own."""
    defaults = method.settings(settings.network, examples)
    chosen = {k: getattr(settings, k) for k in _COMPRESSION}
    chosen = {k: defaults.get(k) if v is None else v for k, v in chosen.items()}
    return {k: v for k, v in chosen.items() if v is not None}


@torch.no_grad()
def with_means(net: nn.Module, posterior: Posterior) -> nn.Module:
    """`net` with the posterior means in it."""
    state = net.state_dict()
    for name, weight in posterior.weights.items():
        state[name].copy_(weight.loc)
    return net
