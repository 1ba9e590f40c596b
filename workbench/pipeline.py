"""The main job: data and a network's name in, one compressed file and its figures out."""

import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ..common.examples import Inputs
from ..compression.compress import Compressed, compress
from ..compression.rewrites import quantise_activations
from ..compression.verdict import WorseNetwork
from ..diagnostics import draw
from ..methods import Method
from ..methods.hooks import Outcome
from ..posterior import Posterior
from ..training.augment import mirrored, shifted
from ..training.errors import CheckFailed
from ..training.evaluation import Score, evaluate
from ..training.progress import StatusLine
from ..training.state_dict import load_weights
from .data import Dataset
from .fitting import check_fits, like_outputs
from .kept import examples_of, method_of, taken_over
from .networks import network
from .own_data import read_data
from .own_network import own_network
from .phases import Trained, compression_options, kl_of, shift_of, train_pair, with_means
from .settings import Settings

# Parameters below which a second thread costs more than it saves, most of all on a busy machine.
SMALL = 100_000
LABEL_DRAWS = 5  # of the weights, for the code length of the training labels
KL_DRAWS = 100  # where the KL is an estimate


def run(settings: Settings, console: Console) -> dict[str, Any]:
    """Train, compress and write `settings.out`; returns what `--json` writes (see the README).

    The test part is looked at at the very end alone: with the trained network, with the decoded
    file, and with what the method adds (an integer form, say). Everything else is decided on the
    validation part.

    :param settings: resolved (see `settings.resolve`).
    :param console: for the progress line and notes.
    :raises CheckFailed: if the decoded network is not the one that was measured.
    """
    began = time.monotonic()
    settings = taken_over(settings)
    net, data, method = prepared(settings, console)
    trained, posterior, result = compressed(net, method, data, settings, console)
    net, model, guide, given = trained
    kl = kl_of(model, guide, data, settings.device, 1 if method.closed_form else KL_DRAWS)
    result.save(settings.out)
    unpruned = quantise_activations(with_means(net, posterior), posterior)
    before = evaluate(unpruned, data.test)
    decoded = _reread(settings.out, net, result)
    after = evaluate(decoded, data.test)
    validation = evaluate(result.network, data.validation)
    figures = _figures(settings, result, before, after, validation)
    if given is None:  # `compress` had the means themselves to compare with
        figures["compression"] |= {"posterior_rise": None, "rise_over_given": None}
    obstacle = _no_code(method, guide, posterior)
    figures["kl_bits"] = None if obstacle else kl / math.log(2)
    figures["no_code_length"] = obstacle
    figures["description_length_bits"] = (
        None if obstacle else _description_length(model, guide, kl, data, settings.device)
    )
    figures |= method.hooked().figures(Outcome(guide, result, decoded, data, validation))
    figures["split"] = dict(data.about) | {
        "train": len(data.train), "validation": len(data.validation), "test": len(data.test),
    }  # fmt: skip
    figures["likelihood"] = data.likelihood
    figures["seconds"] = round(time.monotonic() - began, 1)
    return figures


def prepared(settings: Settings, console: Console) -> tuple[nn.Module, Dataset, Method]:
    """The network at its start, the data, and the method with the run's options.

    :raises ValueError: if network and data do not fit each other.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    data = read_data(settings.source, settings.data_dir, console)
    torch.manual_seed(settings.seed)
    net = start_of(settings, console)
    if settings.threads is None and sum(p.numel() for p in net.parameters()) < SMALL:
        torch.set_num_threads(1)
    data = fitted(net, data, network_option(settings))
    return net, data, method_of(settings, examples_of(settings, data))


def compressed(
    net: nn.Module, method: Method, data: Dataset, settings: Settings, console: Console
) -> tuple[Trained, Posterior, Compressed]:
    """The trained pair, its posterior, and what it compresses to: the run without its figures."""
    trained = train_pair(net, method, data, settings, console)
    trained = trained._replace(net=trained.net.cpu())
    posterior = trained.guide.posterior()
    result = _compress(trained.net, trained.given, posterior, data, method, settings, console)
    return trained, posterior, result


def start_of(settings: Settings, console: Console) -> nn.Module:
    """A new network of the settings, with the weights that they name."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    if settings.model is not None:
        return own_network(settings.model, settings.model_args, settings.weights, say)
    net = network(settings.network)
    if settings.weights is not None:
        load_weights(settings.weights, net, say)
    return net


def fitted(net: nn.Module, data: Dataset, option: str) -> Dataset:
    """Data with labels of the shape of the network's outputs, after a check that they fit.

    :raises ValueError: if the network does not take the inputs, or its outputs fit no labels.
    """
    check_fits(net, data, option)
    return like_outputs(data, net)


def network_option(settings: Settings) -> str:
    """The option that chose the network, for messages."""
    return f"--model {settings.model}" if settings.model else f"--network {settings.network}"


def _no_code(method: Method, guide: nn.Module, posterior: Posterior) -> str | None:
    """Why KL(q || p) is no code length of the weights; None where it is."""
    if not method.proper:
        return "an improper prior has no code lengths"
    if method.hooked().no_code_length:
        return method.hooked().no_code_length
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
    x, y = data.train.to(device)
    draws = draw(model, guide, x, y, LABEL_DRAWS, sites=())
    bits = -draws.log_likelihood.double().sum(1) / math.log(2)
    weights, labels = kl / math.log(2), bits.mean().item()
    return {
        "weights": weights,
        "labels": labels,
        "labels_stderr": bits.std().item() / math.sqrt(LABEL_DRAWS),
        "total": weights + labels,
    }


def _compress(
    net: nn.Module, given: nn.Module | None, posterior: Posterior, data: Dataset,
    method: Method, settings: Settings, console: Console,
) -> Compressed:  # fmt: skip
    line = StatusLine(console, "compress")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WorseNetwork)  # the table ends with them
            return compress(
                net,
                posterior,
                given=given,
                validation=(data.validation.x, data.validation.y),
                likelihood=data.likelihood,
                training=_inputs(data, method, settings),
                coder=settings.coder,
                label=settings.label,
                progress=line.say,
                **compression_options(method, settings, examples_of(settings, data)),
            )
    finally:
        line.close()


def _inputs(data: Dataset, method: Method, settings: Settings) -> Inputs:
    """What survivors are retrained on: training images, and changed ones if training had those."""
    most = shift_of(method.settings(settings.network, examples_of(settings, data)), settings)
    if not most and not settings.flip:
        return data.train.x
    others = shifted(data.train.x, most, settings.seed) if most else data.train.x
    if settings.flip:
        others = mirrored(others, settings.seed)
    return torch.cat([data.train.x, others])


def _reread(path: Path, net: nn.Module, result: Compressed) -> nn.Module:
    """The network of the file on disk, which must be the one that was measured."""
    from ..compression.architecture import Architecture
    from ..compression.file import decode, load, network

    architecture = result.archive.architecture
    into = net if isinstance(architecture, Architecture) and architecture.root is None else None
    # From a device or a pipe nothing comes back.
    decoded = load(path, into=into) if path.is_file() else network(decode(result.data), into)
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
