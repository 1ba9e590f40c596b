"""The main job: data and a network's name in, one compressed file and its figures out."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from ..compression.compress import Compressed, compress
from ..compression.rewrites import quantise_activations
from ..diagnostics import draw
from ..guides.elbo import ELBO
from ..methods import METHODS, Method
from ..posterior import Posterior
from .augment import shifted
from .bops import bops_figures, log_errors
from .code_lengths import code_lengths
from .data import Dataset, load_data
from .errors import CheckFailed
from .evaluate import Score, check_fits, evaluate
from .fit import Options, fit
from .integers import integer_figures
from .kept import about, method_of, taken_over
from .networks import network
from .progress import ProgressLine, StatusLine
from .settings import Settings
from .target import BopsTarget, Target, TargetBytes, TargetError
from .trained import load_guide, load_weights, save_guide

_COMPRESSION = ("threshold", "prune", "margin_nll", "margin_error", "quantiser", "clusters")
# Parameters below which a second thread costs more than it saves, most of all on a busy machine.
SMALL = 100_000
LABEL_DRAWS = 5  # of the weights, for the code length of the training labels
_STEP = {"auto": "auto", "yes": "compiled", "no": "eager"}


def run(settings: Settings, console: Console) -> dict[str, Any]:
    """Train, compress and write `settings.out`; returns what `--json` writes (see the README).

    The test part is looked at at the very end alone: with the trained network, with the decoded
    file, and with that file's integer form if the method is bayesian-bits. Everything else is
    decided on the validation part.

    :param settings: resolved (see `settings.resolve`).
    :param console: for the progress line and notes.
    :raises CheckFailed: if the decoded network is not the one that was measured.
    """
    began = time.monotonic()
    settings = taken_over(settings)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    data = load_data(settings.data, settings.data_dir, console)
    torch.manual_seed(settings.seed)
    net = network(settings.network)
    if settings.threads is None and sum(p.numel() for p in net.parameters()) < SMALL:
        torch.set_num_threads(1)
    check_fits(net, data, f"--network {settings.network}")
    method = method_of(settings)
    net, model, guide, kl = _train(net, method, data, settings, console)
    posterior = guide.posterior()
    result = _compress(net.cpu(), posterior, data, settings, console)
    result.save(settings.out)
    unpruned = quantise_activations(_with_means(net, posterior), posterior)
    before = evaluate(unpruned, data.test)
    decoded = _reread(settings.out, net, result)
    after = evaluate(decoded, data.test)
    validation = evaluate(result.network, data.validation)
    figures = _figures(settings, result, before, after, validation)
    obstacle = _no_code(method, guide, posterior)
    figures["kl_bits"] = None if obstacle else kl / math.log(2)
    figures["no_code_length"] = obstacle
    figures["description_length_bits"] = (
        None if obstacle else _description_length(model, guide, kl, data, settings.device)
    )
    if method.name == "rate":
        lengths = code_lengths(result.archive, result.data, result.network, data.train)
        figures["description"] = {**lengths, "beta": guide.model.beta.item()}
        figures["target_bytes"] = settings.target_bytes
        figures["target_error"] = settings.target_error
        figures["validation_examples"] = validation.n
    if method.name == "bayesian-bits":
        figures["bops"] = bops_figures(guide, settings.target_bops)
        figures["integer"] = integer_figures(decoded, data)
    figures["seconds"] = round(time.monotonic() - began, 1)
    return figures


def _no_code(method: Method, guide: nn.Module, posterior: Posterior) -> str | None:
    """Why KL(q || p) is no code length of the weights; None where it is."""
    if not method.proper:
        return "an improper prior has no code lengths"
    if not any(bool(weight.stddev.any()) for weight in posterior.weights.values()):
        return "a point takes infinitely many bits"
    if not guide.divergence:
        return "the loss of this guide leaves an entropy out, so it is no KL"
    return None


def _description_length(
    model: nn.Module, guide: nn.Module, kl: float, data: Dataset, device: str
) -> dict[str, float]:
    """Bits of the training labels and of the weights, by bits back; given inputs and biases.

    KL(q || p) for the weights and E_q[-log p(y | x, w)] for all labels of the training part, the
    negative bound on the log evidence.
    """
    x, y = data.train.x.to(device), data.train.y.to(device)
    draws = draw(model, guide, x, y, LABEL_DRAWS, sites=())
    bits = -draws.log_likelihood.double().sum(1) / math.log(2)
    weights, labels = kl / math.log(2), bits.mean().item()
    return {
        "weights": weights,
        "labels": labels,
        "labels_stderr": bits.std().item() / math.sqrt(LABEL_DRAWS),
        "total": weights + labels,
    }


def _compression(method: Method, settings: Settings) -> dict[str, Any]:
    """Options of `compress`: those given, else the method's for the network, else its own."""
    defaults = method.settings(settings.network)
    chosen = {k: getattr(settings, k) for k in _COMPRESSION}
    chosen = {k: defaults.get(k) if v is None else v for k, v in chosen.items()}
    return {k: v for k, v in chosen.items() if v is not None}


def _train(
    net: nn.Module, method: Method, data: Dataset, settings: Settings, console: Console
) -> tuple[nn.Module, nn.Module, nn.Module, float]:
    """The network with trained point parameters, the trained pair, and the last epoch's KL."""
    if settings.load_guide is not None:
        return _load(net, method, data, settings)
    defaults = method.settings(settings.network)
    pretrain = defaults["pretrain_epochs"]
    if settings.pretrain_epochs is not None:
        pretrain = settings.pretrain_epochs
    options, start = _options(defaults, settings), None
    if settings.weights is not None:
        load_weights(settings.weights, net)
    elif pretrain and method.name != "deterministic":
        short = replace(
            options, epochs=pretrain, lr=1e-3, lr_schedule="linear", kl_warmup=(0.0, 0.0)
        )
        net = _fit(net, METHODS["deterministic"], data, settings, short, console, "pretrain")[0]
    if method.start:
        first, epochs = METHODS[method.start], _phases(defaults, settings.epochs)
        longer = _options(first.settings(settings.network), settings)
        longer, options = replace(longer, epochs=epochs[0]), replace(options, epochs=epochs[1])
        net, _, guide, _ = _fit(net, first, data, settings, longer, console, "start")
        start = guide.posterior()
    return _fit(net, method, data, settings, options, console, "train", start)


def _load(
    net: nn.Module, method: Method, data: Dataset, settings: Settings
) -> tuple[nn.Module, nn.Module, nn.Module, float]:
    """The same of a pair that was trained before."""
    model, guide = method.pair(net, len(data.train))
    load_guide(settings.load_guide, model, guide)
    model.eval()  # so that BatchNorm statistics stay as they were trained
    with torch.no_grad():
        terms = ELBO().terms(model, guide, data.train.x[:2], data.train.y[:2])
    return _with_means(model.trained(), guide.posterior()), model, guide, terms.total_kl.item()


def _phases(defaults: dict[str, Any], epochs: int | None) -> tuple[int, int]:
    """Epochs of the method that another starts from, and of its own.

    :param epochs: of both together, shared out as the defaults are; None: the defaults.
    """
    first, own = defaults["start_epochs"], defaults["epochs"]
    if epochs is None:
        return first, own
    first = max(1, min(round(epochs * first / (first + own)), epochs - 1))
    return first, max(1, epochs - first)


def _compress(
    net: nn.Module, posterior: Posterior, data: Dataset, settings: Settings, console: Console
) -> Compressed:
    line = StatusLine(console, "compress")
    try:
        return compress(
            net,
            posterior,
            validation=(data.validation.x, data.validation.y),
            training=_inputs(data, settings),
            coder=settings.coder,
            label=settings.network,
            progress=line.say,
            **_compression(METHODS[settings.method], settings),
        )
    finally:
        line.close()


def _inputs(data: Dataset, settings: Settings) -> Tensor:
    """What survivors are retrained on: training images, and shifted ones if training had those."""
    most = _shift(METHODS[settings.method].settings(settings.network), settings)
    if not most:
        return data.train.x
    return torch.cat([data.train.x, shifted(data.train.x, most, settings.seed)])


def _options(defaults: dict[str, Any], settings: Settings) -> Options:
    given = {k: getattr(settings, k) for k in ("epochs", "batch_size", "lr")}
    chosen = {k: v if v is not None else defaults[k] for k, v in given.items()}
    warmup = defaults["kl_warmup"]
    if settings.kl_warmup is not None:
        warmup = (0.0, float(settings.kl_warmup))
    return Options(
        **chosen,
        lr_schedule=defaults["lr_schedule"],
        kl_warmup=warmup,
        shift=_shift(defaults, settings),
        seed=settings.seed,
        step=_STEP[settings.compile],
    )


def _shift(defaults: dict[str, Any], settings: Settings) -> int:
    return defaults.get("shift", 0) if settings.shift is None else settings.shift


def _fit(
    net: nn.Module, method: Method, data: Dataset, settings: Settings,
    options: Options, console: Console, phase: str, start: Posterior | None = None,
) -> tuple[nn.Module, nn.Module, nn.Module, float]:  # fmt: skip
    device = settings.device
    model, guide = method.pair(net.to(device), len(data.train), start=start)
    model, guide = model.to(device), guide.to(device)
    train, validation = (
        (part.x.to(device), part.y.to(device)) for part in (data.train, data.validation)
    )
    target = None
    if method.name == "bayesian-bits":
        model.measure(train[0])
    if phase == "train":
        target = _target(model, guide, method, data, settings, options)
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
    # What a target is reached by is beta in training: after it files would be smaller again.
    if method.name == "rate" and phase == "train" and target is None:
        _descend(guide, _moved(train[0], options), train[1], console, phase)
    if method.name == "bayesian-bits":
        log_errors(guide, history)
    if settings.save_guide is not None and phase == "train":
        save_guide(settings.save_guide, model, guide, about(settings))
    return _with_means(model.trained(), guide.posterior()), model, guide, history[-1].kl


def _descend(guide: nn.Module, x: Tensor, y: Tensor, console: Console, phase: str) -> None:
    """One sweep over single integers, with a line for each layer."""
    lines: dict[str, ProgressLine] = {}

    def show(layer: str, done: int, total: int) -> None:
        if layer not in lines:
            lines[layer] = ProgressLine(console, f"{phase}, integers of {layer}", total)
        lines[layer].update(done, "")
        if done == total:
            lines[layer].close()

    try:
        guide.descend(x, y, show)
    finally:
        for line in lines.values():
            line.close()


def _moved(x: Tensor, options: Options) -> Tensor:
    """Training images as training had them: moved once, if it moved them."""
    return shifted(x, options.shift, options.seed) if options.shift else x


def _target(
    model: nn.Module, guide: nn.Module, method: Method, data: Dataset, settings: Settings,
    options: Options,
) -> Target | BopsTarget | None:  # fmt: skip
    """What moves beta to the size, the error or the BOPs asked for, if any were."""
    if settings.target_bops is not None:
        return BopsTarget(settings.target_bops, model, guide, options)
    if settings.target_error is not None:
        return TargetError(settings.target_error, model, guide, data.validation, options)
    if settings.target_bytes is None:
        return None
    # With the label, as the names of reference networks make their files shorter.
    compression = {**_compression(method, settings), "label": settings.network}
    return TargetBytes(settings.target_bytes, model, guide, data.validation, options, compression)


def _epochs(total: int, rounds: int, number: int) -> int:
    """The epochs of a round, so that all rounds together take `total` (at least one each)."""
    return max(1, total * (number + 1) // rounds - total * number // rounds)


@torch.no_grad()
def _with_means(net: nn.Module, posterior: Posterior) -> nn.Module:
    """`net` with the posterior means in it."""
    state = net.state_dict()
    for name, weight in posterior.weights.items():
        state[name].copy_(weight.loc)
    return net


def _reread(path: Path, net: nn.Module, result: Compressed) -> nn.Module:
    """The network of the file on disk, which must be the one that was measured."""
    from ..compression.file import load

    into = None if result.archive.architecture.root is not None else net
    decoded = load(path, into=into)
    state, measured = decoded.state_dict(), result.network.state_dict()
    same = state.keys() == measured.keys() and all(
        torch.equal(state[name], measured[name]) for name in state
    )
    if not same:
        raise CheckFailed(f"{path}: the file on disk decodes to other weights than were measured")
    return decoded


def _figures(
    settings: Settings, result: Compressed, before: Score, after: Score, validation: Score
) -> dict[str, Any]:
    report = result.report
    return {
        "data": settings.data,
        "network": settings.network,
        "method": settings.method,
        "seed": settings.seed,
        "file": str(settings.out),
        "bytes": report["bytes"],
        "ratio": report["ratio"],
        "float32_bytes": report["float32_bytes"],
        "test_error": after.error,
        "test_error_before": before.error,
        "test_nll": after.nll,
        "validation_error": validation.error,
        "nonzero_fraction": report["nonzero_fraction"],
        "units": report["units"],
        "bits_per_weight": 8 * report["bytes"] / report["weights"],
        "nll_bits": validation.nll_bits,
        "compression": report,
    }
