"""What the commands say: tables for people, JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..methods import METHODS
from ..methods.hooks import percent
from .files import write_atomic
from .printable import printable

STDOUT = "-"
NOT_FINITE = "not_finite"


def write_json(result: Any, target: str | None) -> None:
    """Write `result` as JSON to the file `target`, to stdout for "-", nowhere for None.

    NaN and infinity, which JSON does not have, become null. `not_finite` then says what they were,
    as "nan", "inf" or "-inf" by the dotted path of the number; there is none where all are finite.

    :raises OSError: if the file cannot be written.
    :raises ValueError: for a number that is not finite in a list, which has no room to say so.
    """
    if target is None:
        return
    absent: dict[str, str] = {}
    plain = _finite(result, "", absent)
    if absent and isinstance(plain, dict):
        plain[NOT_FINITE] = absent
    elif absent:
        raise ValueError(f"not finite: {absent}")
    text = json.dumps(plain, indent=2, allow_nan=False) + "\n"
    if target == STDOUT:
        print(text, end="")
    else:
        write_atomic(Path(target), text.encode())


def _finite(value: Any, path: str, absent: dict[str, str]) -> Any:
    """`value` with None for what is not finite, which `absent` gets by its path."""
    if isinstance(value, float) and not math.isfinite(value):
        absent[path] = str(float(value))
        return None
    before = f"{path}." if path else ""
    if isinstance(value, Mapping):
        return {str(k): _finite(item, f"{before}{k}", absent) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, f"{before}{i}", absent) for i, item in enumerate(value)]
    return value


def print_compressed(console: Console, result: Mapping[str, Any]) -> None:
    """The table that ends `bitsback compress`; `result` is the JSON of that command."""
    _say(console, f"{result['network']} on {result['data']}, method {result['method']}")
    table = _key_value()
    name, unit = error_words(result.get("likelihood"))
    table.add_row(f"{name} before", percent(result["test_error_before"]) + unit)
    table.add_row(f"{name} after", f"{percent(result['test_error'])}{unit} (of the decoded file)")
    table.add_row("validation rise", _rise(result["compression"]["rise"]))
    if result["compression"]["rise_over_given"] is not None:
        table.add_row("over the start", _rise(result["compression"]["rise_over_given"]))
    table.add_row("kept weights", percent(100 * result["nonzero_fraction"]))
    table.add_row("kept units", units(result["units"]))
    table.add_row("bits per weight", f"{result['bits_per_weight']:.3f}")
    table.add_row("bytes", f"{result['bytes']:,}")
    table.add_row("ratio", f"{result['ratio']:.1f}x")
    hooks = METHODS[result["method"]].hooked()
    rows = hooks.rows(result)
    if "description" not in dict(rows):
        rows.append(("description length", _description_length(result)))
    for row in rows:
        table.add_row(*row)
    table.add_row("file", Text(printable(result["file"])))
    console.print(table)
    for line in hooks.remarks(result):
        _say(console, line)
    if not result["compression"]["within_margin"]:
        _say(console, _outside(result["compression"]))
    for line in result["compression"]["warnings"]:
        _say(console, f"Warning: {line}.")


def error_words(likelihood: str | None) -> tuple[str, str]:
    """What the error of the test part is called, and what its percents are of."""
    return ("squared error", " of the variance") if likelihood == "normal" else ("test error", "")


def _outside(report: Mapping[str, Any]) -> str:
    """Why a file is not within the margins."""
    if not report["beats_constant"]:
        return "Not within the margins: the file predicts no better than a constant."
    return (
        "Not within the margins: no compression that was tried kept the validation rise to "
        f"{report['allowed_nll']:.2g} nats and {report['allowed_error']:.2g} points; this is the "
        "nearest. Train longer, or allow more (--margin-nll, --margin-error)."
    )


def _description_length(result: Mapping[str, Any]) -> str:
    found = result["description_length_bits"]
    if found is None:
        return f"none: {result['no_code_length']}"
    return (
        f"{found['total']:,.0f} bits: {found['weights']:,.0f} of weights (KL), "
        f"{found['labels']:,.0f} of training labels"
    )


def print_evaluated(console: Console, result: Mapping[str, Any]) -> None:
    """The table of `bitsback evaluate`."""
    _say(console, f"{result['file']} on the test part of {result['data']}")
    table = _key_value()
    table.add_row("examples", f"{result['examples']:,}")
    name, unit = error_words(result.get("likelihood"))
    table.add_row(name, percent(result["test_error"]) + unit)
    table.add_row("test NLL", f"{result['test_nll']:.4f} nats per example")
    console.print(table)


def print_inspected(console: Console, result: Mapping[str, Any]) -> None:
    """The tables of `bitsback inspect`: the file's bytes, then its layers.

    Most of a file is one arithmetic-coded stream, so that a part may have fractions of a byte.
    """
    total = result["bytes"]
    _say(console, f"{result['file']}: {total:,} bytes, coder {result['coder']}")
    table = Table()
    table.add_column("part")
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    for part, size in result["items"].items():
        table.add_row(part, f"{size:,.1f}", f"{100 * size / total:.1f} %")
    console.print(table)
    print_layers(console, result["layers"])


def print_exported(console: Console, result: Mapping[str, Any]) -> None:
    """The table of `bitsback export`."""
    _say(console, f"{result['file']} as {result['to']}")
    table = _key_value()
    if result["to"] == "onnx":
        table.add_row("weights of 8 bits", _names(result["integer_weights"]))
        table.add_row("weights as floats", _names(result["float_weights"]))
    elif result["to"] != "c":
        table.add_row("parameters", f"{result['parameters']:,}")
    table.add_row("bytes", f"{result['bytes']:,}")
    table.add_row("file", Text(printable(result["out"])))
    console.print(table)


def print_layers(console: Console, layers: Sequence[Mapping[str, Any]]) -> None:
    """One line for each weight tensor in the file; units removed from it are not counted."""
    table = Table()
    table.add_column("weight")
    for heading in ("kept", "of", "share", "kept units", "bits per kept weight"):
        table.add_column(heading, justify="right")
    for layer in layers:
        table.add_row(
            Text(printable(layer["name"])),
            f"{layer['kept']:,}",
            f"{layer['total']:,}",
            percent(100 * layer["kept"] / max(layer["total"], 1)),
            f"{layer['kept_units']:,}",
            f"{layer['bits_per_weight']:.3f}",
        )
    console.print(table)


def print_diagnosed(console: Console, result: Mapping[str, Any]) -> None:
    """The table of `bitsback diagnose`."""
    _say(
        console,
        f"{result['file']}: {result['method']} on {result['data']}, {result['draws']} draws",
    )
    table = _key_value()
    if result["obstacle"]:
        table.add_row("no evidence", result["obstacle"])
    else:
        table.add_row("k-hat", result["verdict"].removeprefix("k-hat "))
        for name, khat in (result["site_khats"] or {}).items():
            table.add_row(Text(printable(f"k-hat, {name}")), f"{khat:.2f}")
        for name, found in result["evidence"].items():
            said = f"{found['value']:.1f} ± {found['stderr']:.1f} nats ({found['direction']})"
            table.add_row(name, said)
    if result["loo"]:
        found = result["loo"]
        said = f"elpd {found['elpd']:.1f} ± {found['stderr']:.1f} nats, "
        said += f"{found['khat_above']} examples not to be trusted"
        table.add_row("leave-one-out", said)
    elif not result["obstacle"] and result["khat"] >= 1:
        few = result["khat"] == math.inf
        table.add_row(
            "leave-one-out", f"none: {'too few draws' if few else 'its weights correct nothing'}"
        )
    for name, found in (result["calibration"] or {}).items():
        said = f"NLL {found['nll']:.4f} nats, Brier {found['brier']:.4f}, ECE {found['ece']:.4f}"
        table.add_row(f"test part, {name}", said)
    table.add_row("page", Text(printable(result["page"])))
    console.print(table)


def print_tau0(console: Console, result: Mapping[str, Any]) -> None:
    """The tables that end `bitsback tau0`, and what they come to."""
    _say(console, f"{result['network']} on {result['data']}, {result['epochs']} epochs a value")
    _say(console, "bound, validation figures of the average over q")
    evidence, smallest, published = (result[k] for k in ("evidence", "compression", "published"))
    chosen = {"evidence": evidence, "smallest": smallest, "published": published or {}}
    chosen["expected units"] = result["expected_units"] or {}
    pair, file = Table(), Table()
    quality = ("error", "NLL", "ECE", "test error")
    for heading in ("tau0", "ELBO, nats per datum", *quality, ""):
        pair.add_column(heading, justify="right")
    for heading in ("tau0", "bytes", *quality, "weights", "units", "bits/weight"):
        file.add_column(heading, justify="right", overflow="fold")
    for row in result["values"]:
        found, tau0 = row["figures"], f"{row['tau0']:g}"
        marks = [name for name, place in chosen.items() if place.get("tau0") == row["tau0"]]
        bound = f"{row['elbo']:.4f} ± {row['elbo_stderr']:.4f}"
        tested = percent(found["test_error"])
        pair.add_row(tau0, bound, *_quality(found, "validation"), tested, ", ".join(marks))
        size = f"{found['bytes']:,}" + ("" if found["within_margin"] else " (lossy)")
        left = (f"{found['kept_weights']:,}", units(found["units"]))
        bits = f"{found['bits_per_weight']:.3f}"
        tested = percent(found["file_test_error"])
        file.add_row(tau0, size, *_quality(found, "file"), tested, *left, bits)
    console.print(pair)
    _say(console, "compressed file, validation figures")
    console.print(file)
    _print_places(console, result)


def _print_places(console: Console, result: Mapping[str, Any]) -> None:
    tied = ", ".join(f"{tau0:g}" for tau0 in result["evidence"]["tied"])
    _say(console, f"within 2 standard errors of the largest bound: {tied}")
    titles = ("evidence", "smallest file without loss", "published", "expected units")
    keys = ("evidence", "compression", "published", "expected_units")
    for title, place in zip(titles, map(result.get, keys), strict=True):
        if place is not None:
            said = f"{place['bound_below']:.4f} ± {place['bound_below_stderr']:.4f}"
            _say(
                console,
                f"{title}: tau0 {place['tau0']:g}, {place['bytes']:,} bytes, {said} nats per "
                "datum below the largest bound",
            )
    _say(console, f"evidence over compression: {result['decades_apart']:+.1f} decades")
    learned = result["learned"]
    ends = learned["figures"]["learned_tau0"]
    if isinstance(ends, Mapping):
        said = ", ".join(f"{name} {value:.3g}" for name, value in ends.items())
    else:
        said = f"{ends:.3g}"
    _say(
        console,
        f"learned (type-II) from {learned['tau0']:g} on: {said}, "
        f"{learned['elbo']:.4f} nats per datum, {learned['figures']['bytes']:,} bytes",
    )
    _say(console, f"plot: {result['plot']}")


def _quality(found: Mapping[str, Any], of: str) -> tuple[str, ...]:
    error, nll, ece = (found[f"{of}_{key}"] for key in ("error", "nll", "ece"))
    return percent(error), f"{nll:.4f}", f"{ece:.3f}"


def print_methods(console: Console, methods: Sequence[Mapping[str, Any]]) -> None:
    """The table of `bitsback methods`. The JSON and `bitsback methods M` have the defaults too."""
    table = Table()
    table.add_column("method", no_wrap=True)
    for heading in ("prior", "guide", "paper"):
        table.add_column(heading, overflow="fold")
    for method in methods:
        table.add_row(*(method[key] for key in ("name", "prior", "guide", "paper")))
    console.print(table)
    console.print("bitsback methods M shows the options and defaults of a method.")


def print_method(console: Console, method: Mapping[str, Any]) -> None:
    """The tables of `bitsback methods M`: the method, its options, its presets by network."""
    table = _key_value()
    for key in ("name", "prior", "guide", "paper"):
        table.add_row(key, method[key])
    for name, preset in {"defaults": method["defaults"], **method["networks"]}.items():
        shown = preset if name == "defaults" else _changed(preset, method["defaults"])
        table.add_row(name, ", ".join(f"{key} {value}" for key, value in shown.items()) or "same")
    for flag, said in method["options"].items():
        table.add_row(flag, said)
    console.print(table)


def _changed(preset: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in preset.items() if defaults.get(key) != value}


def print_environment(console: Console, values: Mapping[str, Any]) -> None:
    """`bitsback env`: one line each, plain, to be pasted into a bug report."""
    for name, value in values.items():
        console.print(
            f"{name}: {'none' if value is None else value}", highlight=False, markup=False
        )


def units(kept: Sequence[int]) -> str:
    """Widths of a network, input first: "278-98-13-10"."""
    return "-".join(str(n) for n in kept)


def _say(console: Console, title: str) -> None:
    """A title, as it is; that of a rich table would be wrapped to the table's width."""
    console.print(printable(title), highlight=False, markup=False)


def _names(names: Sequence[str]) -> Text:
    return Text(printable(", ".join(names)) or "none")


def _key_value() -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _rise(rise: Mapping[str, float]) -> str:
    """A paired rise in validation NLL [nats] and error [points], with standard errors."""
    return (
        f"{rise['nll']:+.4f} ± {rise['nll_stderr']:.4f} nats, "
        f"{rise['error']:+.2f} ± {rise['error_stderr']:.2f} points of error"
    )
