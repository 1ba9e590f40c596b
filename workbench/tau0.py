"""The horseshoe's tau0 by the bound on the evidence, beside what each value compresses to."""

import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console

from ..compression.margins import MARGIN_NLL
from ..diagnostics import Tau0, best_tau0
from ..diagnostics.tau0 import PUBLISHED
from ..distributions.half_cauchy_product import tau0_for_units
from ..models.horseshoe import check_tau0
from .data import load_data
from .fitting import check_fits
from .networks import network
from .pipeline import SMALL
from .settings import Settings
from .sweep import Search, Sweep


def run(
    settings: Settings,
    values: Iterable[float],
    console: Console,
    search: Search = Search(),  # noqa: B008  (frozen)
    expected: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Sweep tau0; returns what `--json` writes (see the README).

    :param settings: resolved; `data`, `network`, `epochs`, `seed`, `resume` and `data_dir` count.
    :param values: of tau0.
    :param console: for progress lines.
    :param search: where and how the values are worked on.
    :param expected: a number of units and a level: the tau0 under which the prior expects so many
        of all units to have a scale above it becomes one of the values.
    :raises ValueError: if `settings.resume` holds the values of other settings.
    """
    began = time.monotonic()
    data = load_data(settings.data, settings.data_dir, console)
    net = network(settings.network)
    check_fits(net, data, f"--network {settings.network}")
    if sum(p.numel() for p in net.parameters()) < SMALL:
        torch.set_num_threads(1)
    sweep = Sweep(settings, search, console, data)
    chosen = None if expected is None else _expected(sweep, *expected)
    values = list(values) if chosen is None else [*values, chosen["tau0"]]
    rows = sweep.rows(values)
    learned = sweep.learned(best_tau0(rows).tau0)
    if chosen is not None:
        row = next(row for row in rows if row.tau0 == chosen["tau0"])
        chosen |= _place(row, best_tau0(rows))
    return {
        **sweep.about,
        "examples": len(data.train),
        "values": [_plain(row) | _below(best_tau0(rows), row) for row in rows],
        "learned": _plain(learned),
        **compare(rows),
        "expected_units": chosen,
        "seconds": round(time.monotonic() - began, 1),
    }


def _expected(sweep: Sweep, units: float, level: float) -> dict[str, Any]:
    """One tau0 for all tensors, by the expected number of units of the whole network."""
    model, _ = sweep.pair(PUBLISHED)
    total = sum(model.groups.count(name) for name in set(model.groups.owners.values()))
    tau0 = tau0_for_units(units, total, level)
    check_tau0(f"--units {units:g} --level {level:g}: tau0", tau0)
    return {"units": units, "of": total, "level": level, "tau0": tau0}


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
    return {"tau0": row.tau0, "bytes": row.figures["bytes"], **_below(evident, row)}


def _below(evident: Tau0, row: Tau0) -> dict[str, float]:
    """How far a row's bound is below the largest, nats per datum, and the paired error."""
    below, stderr = evident.above(row)
    return {"bound_below": below, "bound_below_stderr": stderr}


def _tied(evident: Tau0, row: Tau0) -> bool:
    gap, stderr = evident.above(row)
    return gap <= 2 * stderr


def _plain(row: Tau0) -> dict[str, Any]:
    """As JSON has it: without each draw's figure."""
    return {key: value for key, value in asdict(row).items() if key != "parts"}
