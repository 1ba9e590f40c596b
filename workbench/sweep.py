"""The pairs of a sweep over the horseshoe's tau0: trained, measured and kept."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ..compression.compress import Compressed, compress
from ..diagnostics import Tau0, calibration, predict, select_tau0
from ..diagnostics.tau0 import Pair
from ..guides.elbo import ELBO
from ..methods import METHODS, PRETRAINING, SWEPT, Method
from ..training import Options, fit
from ..training.errors import CheckFailed
from ..training.evaluation import Score, evaluate
from ..training.evaluation import predict as logits_of
from ..training.progress import StatusLine
from ..training.trained import load_guide, save_guide
from .data import Dataset, load_data
from .files import write_atomic
from .networks import network
from .settings import Settings

# Without the bounds of the method's own guide, which make the bound on the evidence looser.
METHOD = replace(METHODS[SWEPT], guide_options={})
OWN_SHARE = 4  # one in so many epochs is a value's own; the others are the common start's
BOUND_DRAWS, PREDICTION_DRAWS = 100, 50
QUICK_DRAWS, QUICK_CLUSTERS = 20, 16


@dataclass(frozen=True)
class Search:
    """Where and how the values of a sweep are worked on.

    :param engine: "here", "processes" or "ray"; see `diagnostics.engines.each`.
    :param jobs: processes at a time; default: one a core.
    :param quick: 20 draws for the bound and for predictions instead of 100 and 50; compress with
        codebooks of 16 values and without retraining what is left. Larger files, less time.
    :param learn: tau0 in the row that learns it: "global", one of all, or "layer", one a tensor.
    """

    engine: str = "processes"
    jobs: int | None = None
    quick: bool = False
    learn: str = "global"


class Sweep:
    """Trains, measures and keeps the pairs of a sweep.

    :param settings: see `tau0.run`.
    :param search: see `Search`.
    :param console: for progress lines.
    :param data: of `settings.data`, if it is there already.
    """

    def __init__(
        self,
        settings: Settings,
        search: Search = Search(),
        console: Console | None = None,
        data: Dataset | None = None,
    ):
        self.settings, self.search, self.console = settings, search, console
        defaults = METHOD.settings(settings.network)
        total = settings.epochs or defaults["epochs"]
        self.own = max(1, total // OWN_SHARE)
        self.about = {
            "data": settings.data,
            "network": settings.network,
            "method": METHOD.name,
            "seed": settings.seed,
            "epochs": total,
            "quick": search.quick,
        }
        self._data, self._start = data, None
        if settings.resume is not None:
            _check_same(settings.resume / "sweep.json", self.about)

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: it reads the data itself, and shows no progress lines."""
        return self.__dict__ | {"_data": None, "_start": None, "console": None}

    @property
    def data(self) -> Dataset:
        if self._data is None:
            self._data = load_data(self.settings.data, self.settings.data_dir)
        return self._data

    def rows(self, values: Iterable[float]) -> list[Tau0]:
        """One row a value, by rising tau0."""
        return self._select(values, None)

    def learned(self, tau0: float) -> Tau0:
        """tau0 as a parameter that starts there; `figures["learned_tau0"]` is where it ends.

        A number, or one by weight tensor where each has its own.
        """
        return self._select([tau0], self.search.learn)[0]

    def _select(self, values: Iterable[float], learn: str | None) -> list[Tau0]:
        kind = {None: "", "global": "learned-", "layer": "learned-layer-"}[learn]
        names = {value: f"{kind}{value!r}" for value in values}
        done = {v: row for v, name in names.items() if (row := self._kept(name)) is not None}
        count = len(done)

        def keep(row: Tau0, model: nn.Module, guide: nn.Module) -> None:
            nonlocal count
            count += 1
            self._keep(names[row.tau0], row, model, guide)
            self._say(f"{count} of {len(names)} values: {_line(row)}")

        train = self.data.train
        return select_tau0(
            partial(self.train, learn=learn),
            train.x,
            train.y,
            names,
            kl=self.kl,
            measure=self.measure,
            num_samples=QUICK_DRAWS if self.search.quick else BOUND_DRAWS,
            seed=self.settings.seed,
            done=done,
            keep=keep,
            engine=self.search.engine,
            jobs=self.search.jobs,
        )

    def _say(self, text: str) -> None:
        if self.console is not None:
            self.console.print(text, highlight=False, markup=False)

    def pair(self, tau0: float, learn: str | None = None, net: nn.Module | None = None) -> Pair:
        """An untrained pair, at the weights of `net` or else at new ones."""
        method = replace(METHOD, model_options={"tau0": tau0, "learn_tau0": learn})
        return method.pair(net or self._new_network(), len(self.data.train))

    def train(self, tau0: float, start: Pair | None, learn: str | None = None) -> Pair:
        """A pair trained at tau0 from `start`, or the common start of all if that is None."""
        if start is None:
            self._start = self._start or self._common_start(tau0)
            return self._start
        model, guide = self.pair(tau0, learn)
        model.load_state_dict(start[0].state_dict(), strict=not learn)
        guide.load_state_dict(start[1].state_dict())
        guide.rebalance()
        self._fit(model, guide, METHOD, self.own, f"tau0 {'learned' if learn else f'{tau0:g}'}")
        return model, guide

    def _common_start(self, tau0: float) -> Pair:
        """Trained as `bitsback compress` does, but for the epochs that each value has by itself."""
        file = self.settings.resume and self.settings.resume / "start.safetensors"
        model, guide = self.pair(tau0)
        if file is not None and file.exists():
            load_guide(file, model, guide)
            return model, guide
        net, point = self._new_network(), METHODS[PRETRAINING]
        pretrain = METHOD.settings(self.settings.network)["pretrain_epochs"]
        pair = point.pair(net, len(self.data.train))
        self._fit(*pair, point, pretrain, "pretrain")
        model, guide = self.pair(tau0, net=_with_means(*pair))
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
        """Figures of the average over q and of the compressed file, and its size.

        Of the validation part, and of the test part, by which nothing is chosen.
        """
        result = self._compress(model, guide)
        report, figures = result.report, {}
        draws = QUICK_DRAWS if self.search.quick else PREDICTION_DRAWS
        parts = (
            ("validation", "file", self.data.validation),
            ("test", "file_test", self.data.test),
        )
        for of_q, of_file, part in parts:
            average = predict(model, guide, part.x, draws)
            figures |= _quality(of_q, average, part.y)
            file = torch.softmax(logits_of(result.network, part.x).double(), -1)
            figures |= _quality(of_file, file, part.y, evaluate(result.network, part))
        figures |= {
            "bytes": report["bytes"],
            "ratio": report["ratio"],
            "within_margin": report["within_margin"],
            "kept_weights": sum(layer["kept"] for layer in report["layers"]),
            "bits_per_weight": 8 * report["bytes"] / report["weights"],
            "units": report["units"],
        }
        if model.learn_tau0:
            ends = {name: model.log_tau0(name).exp().item() for name in model.weight_names}
            one = model.learn_tau0 == "global"
            figures["learned_tau0"] = next(iter(ends.values())) if one else ends
        return figures

    def _compress(self, model: nn.Module, guide: nn.Module) -> Compressed:
        part, line = self.data.validation, StatusLine(self.console, "compress")
        options = {"training": self.data.train.x}
        if self.search.quick:
            options = {"clusters": QUICK_CLUSTERS}
        try:
            return compress(
                _with_means(model, guide), guide.posterior(), validation=(part.x, part.y),
                label=self.settings.network, progress=line.say, **options,
            )  # fmt: skip
        finally:
            line.close()

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
        try:
            text = json.dumps(asdict(row), indent=2, allow_nan=False)
        except ValueError:
            said = {**row.figures, "elbo": row.elbo, "elbo_stderr": row.elbo_stderr}
            raise CheckFailed(f"tau0 {row.tau0:g}: a figure is not finite: {said}") from None
        write_atomic(folder / f"{name}.json", text.encode())


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


def _line(row: Tau0) -> str:
    figures = row.figures
    return f"tau0 {row.tau0:g}, {row.elbo:.4f} nats per datum, {figures['bytes']:,} bytes"


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
