"""The horseshoe's tau0 by the bound on the evidence, beside what each value compresses to."""

import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ..compression.compress import MARGIN_NLL, compress
from ..diagnostics import Tau0, best_tau0, calibration, predict, select_tau0
from ..diagnostics.tau0 import PUBLISHED, Pair
from ..guides.elbo import ELBO
from ..methods import METHODS, Method
from .data import Dataset, load_data
from .evaluate import Score, check_fits, evaluate
from .evaluate import predict as logits_of
from .files import write_atomic
from .fit import Options, fit
from .networks import network
from .pipeline import SMALL
from .progress import StatusLine
from .settings import Settings
from .trained import load_guide, save_guide

METHOD = METHODS["horseshoe"]
OWN_SHARE = 4  # one in so many epochs is a value's own; the others are the common start's
BOUND_DRAWS, PREDICTION_DRAWS = 100, 50


def run(settings: Settings, values: Iterable[float], console: Console) -> dict[str, Any]:
    """Sweep tau0; returns what `--json` writes (see the README).

    :param settings: resolved; `data`, `network`, `epochs`, `seed`, `resume` and `data_dir` count.
    :param values: of tau0.
    :param console: for progress lines.
    :raises ValueError: if `settings.resume` holds the values of other settings.
    """
    began = time.monotonic()
    data = load_data(settings.data, settings.data_dir, console)
    net = network(settings.network)
    check_fits(net, data, f"--network {settings.network}")
    if sum(p.numel() for p in net.parameters()) < SMALL:
        torch.set_num_threads(1)
    sweep = Sweep(data, settings, console)
    rows = sweep.rows(values)
    learned = sweep.learned(best_tau0(rows).tau0)
    return {
        **sweep.about,
        "examples": len(data.train),
        "values": [_plain(row) for row in rows],
        "learned": _plain(learned),
        **compare(rows),
        "seconds": round(time.monotonic() - began, 1),
    }


class Sweep:
    """Trains, measures and keeps the pairs of a sweep.

    :param settings: see `run`.
    """

    def __init__(self, data: Dataset, settings: Settings, console: Console | None = None):
        self.data, self.settings, self.console = data, settings, console
        defaults = METHOD.settings(settings.network)
        total = settings.epochs or defaults["epochs"]
        self.own = max(1, total // OWN_SHARE)
        self.about = {
            "data": settings.data,
            "network": settings.network,
            "method": METHOD.name,
            "seed": settings.seed,
            "epochs": total,
        }
        self._start: Pair | None = None
        if settings.resume is not None:
            _check_same(settings.resume / "sweep.json", self.about)

    def rows(self, values: Iterable[float]) -> list[Tau0]:
        """One row a value, by rising tau0."""
        return self._select(values, None)

    def learned(self, tau0: float) -> Tau0:
        """tau0 as a parameter that starts there; `figures["learned_tau0"]` is where it ends."""
        return self._select([tau0], "global")[0]

    def _select(self, values: Iterable[float], learn: str | None) -> list[Tau0]:
        names = {value: f"{'learned-' if learn else ''}{value!r}" for value in values}
        done = {v: row for v, name in names.items() if (row := self._kept(name)) is not None}

        def keep(row: Tau0, model: nn.Module, guide: nn.Module) -> None:
            self._keep(names[row.tau0], row, model, guide)

        train = self.data.train
        return select_tau0(
            partial(self.train, learn=learn),
            train.x,
            train.y,
            names,
            kl=self.kl,
            measure=self.measure,
            num_samples=BOUND_DRAWS,
            seed=self.settings.seed,
            done=done,
            keep=keep,
        )

    def train(self, tau0: float, start: Pair | None, learn: str | None = None) -> Pair:
        """A pair trained at tau0 from `start`, or the common start of all if that is None."""
        if start is None:
            self._start = self._start or self._common_start(tau0)
            return self._start
        model, guide = _method(tau0, learn).pair(self._new_network(), len(self.data.train))
        model.load_state_dict(start[0].state_dict(), strict=not learn)
        guide.load_state_dict(start[1].state_dict())
        guide.rebalance()
        self._fit(model, guide, METHOD, self.own, f"tau0 {'learned' if learn else f'{tau0:g}'}")
        return model, guide

    def _common_start(self, tau0: float) -> Pair:
        """Trained as `bitsback compress` does, but for the epochs that each value has by itself."""
        file = self.settings.resume and self.settings.resume / "start.safetensors"
        model, guide = _method(tau0).pair(self._new_network(), len(self.data.train))
        if file is not None and file.exists():
            load_guide(file, model, guide)
            return model, guide
        net, point = self._new_network(), METHODS["deterministic"]
        pretrain = METHOD.settings(self.settings.network)["pretrain_epochs"]
        pair = point.pair(net, len(self.data.train))
        self._fit(*pair, point, pretrain, "pretrain")
        model, guide = _method(tau0).pair(_with_means(*pair), len(self.data.train))
        self._fit(model, guide, METHOD, self.about["epochs"] - self.own, "start", warmup=True)
        if file is not None:
            save_guide(file, model, guide)
        return model, guide

    def _new_network(self) -> nn.Module:
        torch.manual_seed(self.settings.seed)
        return network(self.settings.network)

    def _fit(self, model, guide, method: Method, epochs: int, title: str, warmup=False) -> None:
        defaults = METHOD.settings(self.settings.network)
        deterministic = method is not METHOD
        options = Options(
            epochs=epochs,
            batch_size=defaults["batch_size"],
            lr=1e-3 if deterministic else defaults["lr"],
            lr_schedule=defaults["lr_schedule"],
            kl_warmup=defaults["kl_warmup"] if warmup else (0.0, 0.0),
            shift=defaults["shift"],
            seed=self.settings.seed,
        )
        train, validation = ((p.x, p.y) for p in (self.data.train, self.data.validation))
        fit(
            model, guide, train, validation=validation, options=options, console=self.console,
            title=title,
        )  # fmt: skip

    def kl(self, model: nn.Module, guide: nn.Module) -> float:
        """KL(q || p) in nats, in closed form."""
        part = self.data.train
        with torch.no_grad():
            return ELBO().terms(model, guide, part.x[:2], part.y[:2]).total_kl.item()

    def measure(self, model: nn.Module, guide: nn.Module) -> dict[str, Any]:
        """Validation figures of the average over q and of the compressed file, and its size."""
        part = self.data.validation
        average = predict(model, guide, part.x, PREDICTION_DRAWS)
        net, line = _with_means(model, guide), StatusLine(self.console, "compress")
        try:
            result = compress(
                net, guide.posterior(), validation=(part.x, part.y), training=self.data.train.x,
                label=self.settings.network, progress=line.say,
            )  # fmt: skip
        finally:
            line.close()
        report, scores = result.report, evaluate(result.network, part)
        file = torch.softmax(logits_of(result.network, part.x).double(), -1)
        figures = {
            **_quality("validation", average, part.y),
            **_quality("file", file, part.y, scores),
            "bytes": report["bytes"],
            "ratio": report["ratio"],
            "within_margin": report["within_margin"],
            "kept_weights": sum(layer["kept"] for layer in report["layers"]),
            "bits_per_weight": 8 * report["bytes"] / report["weights"],
            "units": report["units"],
        }
        if model.learn_tau0:
            figures["learned_tau0"] = model.learned.log_tau0.exp().item()
        return figures

    def _kept(self, name: str) -> Tau0 | None:
        if self.settings.resume is None:
            return None
        file = self.settings.resume / f"{name}.json"
        return Tau0(**json.loads(file.read_text())) if file.exists() else None

    def _keep(self, name: str, row: Tau0, model: nn.Module, guide: nn.Module) -> None:
        folder = self.settings.resume
        if folder is None:
            return
        about = {k: str(v) for k, v in self.about.items()} | {"tau0": repr(row.tau0)}
        save_guide(folder / f"{name}.safetensors", model, guide, about)
        # Last: a value is finished when this is there.
        write_atomic(folder / f"{name}.json", json.dumps(asdict(row), indent=2).encode())


def compare(rows: list[Tau0]) -> dict[str, Any]:
    """Where the bound is largest, where the smallest file without loss is, and how far apart.

    Without loss: a validation NLL of the file within `compress`'s margin of that of the best file.
    (Its margin for the error is less than one of 300 examples, and decides nothing between runs.)
    """
    evident = best_tau0(rows)
    lowest = min(row.figures["file_nll"] for row in rows)
    lossless = [row for row in rows if row.figures["file_nll"] <= lowest + MARGIN_NLL]
    smallest = min(lossless, key=lambda row: row.figures["bytes"])
    published = [row for row in rows if row.tau0 == PUBLISHED]
    return {
        "evidence": _place(evident, evident)
        | {"tied": [row.tau0 for row in rows if _tied(evident, row)]},
        "compression": _place(smallest, evident) | {"lossless": [row.tau0 for row in lossless]},
        "published": _place(published[0], evident) if published else None,
        "decades_apart": math.log10(evident.tau0 / smallest.tau0),
    }


def _place(row: Tau0, evident: Tau0) -> dict[str, Any]:
    below, stderr = evident.above(row)
    return {
        "tau0": row.tau0,
        "bytes": row.figures["bytes"],
        "bound_below": below,
        "bound_below_stderr": stderr,
    }


def _tied(evident: Tau0, row: Tau0) -> bool:
    gap, stderr = evident.above(row)
    return gap <= 2 * stderr


def _plain(row: Tau0) -> dict[str, Any]:
    """As JSON has it: without each draw's figure."""
    return {key: value for key, value in asdict(row).items() if key != "parts"}


def _method(tau0: float, learn: str | None = None) -> Method:
    return replace(METHOD, model_options={"tau0": tau0, "learn_tau0": learn})


@torch.no_grad()
def _with_means(model: nn.Module, guide: nn.Module) -> nn.Module:
    """The trained network with the posterior means in it."""
    net = model.trained()
    for name, weight in guide.posterior().weights.items():
        net.get_parameter(name).copy_(weight.loc)
    return net


def _quality(name: str, probabilities, labels, score: Score | None = None) -> dict[str, float]:
    """Error in percent, NLL in nats an example, ECE."""
    found = calibration(probabilities, labels)
    wrong = (probabilities.argmax(-1) != labels).double().mean().item()
    return {
        f"{name}_error": 100 * wrong if score is None else score.error,
        f"{name}_nll": found.nll.mean().item() if score is None else score.nll,
        f"{name}_ece": found.ece,
    }


def _check_same(file: Path, about: dict[str, Any]) -> None:
    """Refuse a folder of another sweep, else note in it what this one is.

    :raises ValueError: says what differs.
    """
    if not file.exists():
        write_atomic(file, json.dumps(about, indent=2).encode())
        return
    try:
        found = json.loads(file.read_text())
        different = [key for key, value in about.items() if found.get(key) != value]
    except (ValueError, AttributeError):
        raise ValueError(f"{file}: not readable; name another --resume folder") from None
    if different:
        key = different[0]
        raise ValueError(
            f"{file}: is of a sweep with {key} {found.get(key)!r}, not {about[key]!r}; "
            "name another --resume folder"
        )
