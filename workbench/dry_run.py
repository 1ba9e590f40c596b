"""`--dry-run`: what a run would do, and about how long it would take. Nothing is written."""

import copy
import resource
import sys
import time
from dataclasses import asdict
from typing import Any

from torch import nn

from ..common.examples import arguments, each, tensors
from ..graph import trace
from ..graph.errors import Untraceable
from ..methods import Method
from ..training.batches import Batches
from ..training.options import Options
from ..training.steps import EagerStep, Pair
from .data import Dataset
from .kept import examples_of
from .noise import with_noise
from .phases import options_of, phases_of
from .removable import removable_outputs
from .settings import Settings

UPDATES = 5  # that are timed, after one that is not


def plan(net: nn.Module, method: Method, data: Dataset, settings: Settings) -> dict[str, Any]:
    """The JSON of `--dry-run`: parameters, prior, units, phases with seconds, memory in bytes.

    :param net: the network, fitted to the data; not changed.
    """
    traced, obstacle = _traced(net, data)
    pair = _pair(traced, method, data, settings)
    model = pair.model
    latent = model.initial_weights()
    tensors = [p for p in traced.state_dict().values() if p.is_floating_point()]
    outputs = [] if obstacle else removable_outputs(traced, tuple(latent))
    defaults = method.settings(settings.network, examples_of(settings, data))
    options = options_of(method, defaults, settings)
    seconds = _seconds(pair, data, options, settings)
    updates = len(data.train) // min(options.batch_size, len(data.train))
    phases = phases_of(method, data, settings)
    return {
        "data": settings.data,
        "network": settings.network,
        "method": method.name,
        "examples": {name: len(part) for name, part in data.parts.items()},
        "likelihood": data.likelihood,
        "split": dict(data.about),
        "parameters": sum(p.numel() for p in traced.parameters()),
        "float32_bytes": 4 * sum(t.numel() for t in tensors),
        "prior": {name: list(weight.shape) for name, weight in latent.items()},
        "latent_share": model.latent_share(),
        "untraced": obstacle,
        "outputs": [asdict(found) for found in outputs],
        "batch_size": options.batch_size,
        "updates_an_epoch": updates,
        "seconds_an_update": seconds,
        "epochs": phases,
        "training_seconds": seconds * updates * sum(phases.values()),
        "memory": _memory(pair, data),
    }


def _traced(net: nn.Module, data: Dataset) -> tuple[nn.Module, str | None]:
    try:
        return trace(net, arguments(net, data.train.example())), None
    except Untraceable as error:
        return copy.deepcopy(net), str(error)


def _pair(net: nn.Module, method: Method, data: Dataset, settings: Settings) -> Pair:
    example = data.train.example(settings.device)
    net = copy.deepcopy(net).to(settings.device)
    likelihood = with_noise(net, data.validation)
    model, guide = method.pair(net, len(data.train), likelihood, example=example)
    pair = Pair(model, guide).to(settings.device)
    method.hooked().prepare(model, example)
    return pair


def _seconds(pair: Pair, data: Dataset, options: Options, settings: Settings) -> float:
    """Of one update, not compiled: the median of `UPDATES`."""
    train = (data.train.x, data.train.y)
    batches = Batches(pair.model, train, options, lambda line: None)
    step, order = EagerStep(pair), batches.order(0)
    taken = []
    for number in range(1 + UPDATES):
        start = time.perf_counter()
        x, y = batches.take(order[: batches.batch], number)
        x, y = each((x, y), lambda tensor: tensor.to(settings.device))
        outcome = step(x, y, number, 0.0, 0.0)
        outcome.finite.item()  # so that a GPU has done its work
        taken.append(time.perf_counter() - start)
    return sorted(taken[1:])[UPDATES // 2]


def _memory(pair: Pair, data: Dataset) -> dict[str, int]:
    """Bytes: of data, of the pair with Adam's two moments, and of the process at its largest."""
    state = sum(p.numel() * p.element_size() for p in pair.state_dict().values())
    moments = 2 * sum(p.numel() * p.element_size() for p in pair.parameters())
    held = sum(
        tensor.numel() * tensor.element_size()
        for part in data.parts.values()
        for tensor in tensors((part.x, part.y))
    )
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"data": held, "pair_and_optimizer": state + moments, "process": peak}
