"""What each command does, once its options are read: a function to its JSON and its tables.

Torch and the rest load inside the functions, so that `bitsback --help` is fast.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console

from ..methods import METHODS
from ..training.errors import CheckFailed
from . import report
from .files import check_folder, check_writable, write_atomic
from .names import lookup
from .settings import Settings, resolve


def consoles(json_target: str | None, quiet: bool = False) -> tuple[Console, Console]:
    """Where progress goes, and where tables go: stdout is left to the JSON if that goes there."""
    errors = Console(stderr=True, quiet=quiet)
    return errors, (errors if json_target == report.STDOUT else Console(quiet=quiet))


def compress(settings: Settings, json_target: str | None) -> None:
    """Train, compress, write the file, report.

    :raises ValueError: before any training, for an unknown name or an output that cannot be
        written.
    """
    from .pipeline import run

    plot = settings.options.get("plot")
    if plot is not None:
        _check_plot(plot)
    settings = resolve(settings)
    check_writable(settings.out, "--out")
    if settings.save_guide is not None:
        check_writable(settings.save_guide, "--save-guide")
    if settings.resume is not None:
        check_folder(settings.resume, "--resume")
    _check_json(json_target)
    progress, tables = consoles(json_target, settings.quiet)
    if settings.dry_run:
        _plan(settings, progress, tables, json_target)
        return
    result = run(settings, progress)
    report.print_compressed(tables, result)
    report.write_json(result, json_target)
    if plot is not None:
        write_atomic(plot, METHODS[settings.method].hooked().plot(result))


def _plan(settings: Settings, progress: Console, tables: Console, json_target: str | None) -> None:
    """What a run would do, instead of the run."""
    from .dry_run import plan
    from .kept import taken_over
    from .pipeline import prepared
    from .print_plan import print_plan

    settings = taken_over(settings)
    net, data, method = prepared(settings, progress)
    result = plan(net, method, data, settings)
    print_plan(tables, result)
    report.write_json(result, json_target)


def _check_plot(plot: Path) -> None:
    if plot.suffix != ".png":
        raise ValueError(f"--plot {plot}: the plot is a PNG; name a .png file")
    check_writable(plot, "--plot")


def evaluate(
    file: Path, data: Mapping[str, Any], data_dir: Path | None, json_target: str | None,
    model: tuple[str | None, str | None] = (None, None),
) -> None:  # fmt: skip
    """Test error and test NLL of a compressed file.

    :param data: fields of `own_data.Source`.
    :param model: factory and arguments of the network's own class, for a file that needs it.
    """
    from ..compression.file import load
    from ..training.evaluation import evaluate as score_of
    from .fitting import check_fits, like_outputs
    from .own_data import Source, read_data
    from .own_network import own_network

    _check_json(json_target)
    source = Source(**data)
    source.check()
    progress, tables = consoles(json_target)
    into = own_network(*model) if model[0] is not None else None
    net = load(file, into=into)  # first: a bad file must not wait for a download
    dataset = read_data(source, data_dir, progress)
    batch = check_fits(net, dataset, str(file))
    dataset = like_outputs(dataset, net)
    try:
        score = score_of(net, dataset.test, batch)
    except CheckFailed as error:  # of a file that somebody else wrote, perhaps
        raise ValueError(f"{file}: {error}") from None
    result: dict[str, Any] = {
        "file": str(file),
        "data": source.data,
        "likelihood": dataset.likelihood,
        "examples": score.n,
        "test_error": score.error,
        "test_nll": score.nll,
    }
    report.print_evaluated(tables, result)
    report.write_json(result, json_target)


def inspect(file: Path, json_target: str | None) -> None:
    """The bytes of a compressed file, itemised, and its layers."""
    from ..compression.errors import CorruptFile
    from ..compression.file import inspect as itemise
    from ..compression.file import read

    _check_json(json_target)
    try:
        result = {"file": str(file), **itemise(read(file))}
    except CorruptFile as error:
        raise type(error)(f"{file}: {error}") from error
    report.print_inspected(consoles(json_target)[1], result)
    report.write_json(result, json_target)


EXPORTS = ("onnx", "torch", "safetensors", "c")


def export(
    file: Path, out: Path, to: str, levels: int | None, shape: tuple[int, ...] | None,
    json_target: str | None, model: tuple[str | None, str | None] = (None, None),
) -> None:  # fmt: skip
    """A compressed file as ONNX, a program of torch.export, safetensors, or a header for C.

    :param to: one of `EXPORTS`.
    :param levels: for ONNX: inputs become integers, multiples of 1 / levels; None: they stay
        floats.
    :param shape: of one input; None: see `onnx_file.to_onnx`.
    :param model: factory and arguments of the network's own class, for a file that needs it.
    :raises ValueError: for a network that has no such form; the message names the layer.
    """
    from ..compression.file import load
    from .exporting import to_safetensors, to_torch
    from .own_network import own_network

    if to not in EXPORTS:
        raise ValueError(f"--to {to}: must be one of {', '.join(EXPORTS)}")
    if levels is not None and to != "onnx":
        raise ValueError("--levels: only --to onnx has it")
    if levels is not None and not 1 <= levels <= 255:
        raise ValueError(f"--levels {levels}: must be within 1..255, so that codes are of 8 bits")
    check_writable(out, "--out")
    _check_json(json_target)
    if to == "c":
        _export_c(file, out, json_target)
        return
    net = load(file, into=own_network(*model) if model[0] is not None else None)
    try:
        if to == "onnx":
            found = _to_onnx(net, out, levels, shape)
        else:
            found = to_torch(net, out, shape) if to == "torch" else to_safetensors(net, out)
    except OSError:
        raise
    except Exception as error:  # packages raise their own where a network makes no sense
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{file}: has no form as {to}: {reason}") from error
    result = {"file": str(file), "to": to, "out": str(out), "bytes": out.stat().st_size, **found}
    report.print_exported(consoles(json_target)[1], result)
    report.write_json(result, json_target)


def _export_c(file: Path, out: Path, json_target: str | None) -> None:
    """The decoder in C with the table of a network, which need not be built for that."""
    from ..compression.c_table import c_header
    from ..compression.file import read

    try:
        text = c_header(read(file))
    except ValueError as error:
        raise type(error)(f"{file}: {error}") from None
    write_atomic(out, text.encode())
    result = {"file": str(file), "to": "c", "out": str(out), "bytes": out.stat().st_size}
    report.print_exported(consoles(json_target)[1], result)
    report.write_json(result, json_target)


def _to_onnx(
    net: Any, out: Path, levels: int | None, shape: tuple[int, ...] | None
) -> dict[str, Any]:
    from ..compression.integer_layers import IntegerInput
    from ..compression.onnx_file import integer_weights, save_onnx

    inputs = None if levels is None else IntegerInput(Fraction(1, levels), high=levels)
    integers, floats = integer_weights(save_onnx(net, out, inputs, shape))
    return {"integer_weights": integers, "float_weights": floats}


def diagnose(
    file: Path, compressed: Path | None, out: Path, samples: int, data_dir: Path | None,
    json_target: str | None,
) -> None:  # fmt: skip
    """A page about a kept guide, and its figures.

    Calibration is on the test part: the validation part has chosen the file.

    :raises ValueError: for a file that was not written by `bitsback compress --save-guide`.
    """
    from .. import diagnostics
    from ..compression.file import load
    from ..training.trained import describe_guide
    from .data import load_data
    from .kept import rebuild

    if samples < 20:
        raise ValueError(f"--samples {samples}: must be at least 20, to say anything of a tail")
    check_writable(out, "--out")
    _check_json(json_target)
    progress, tables = consoles(json_target)
    about = describe_guide(file)["about"]
    small = load(compressed) if compressed is not None else None
    data = load_data(about.get("data", ""), data_dir, progress)
    model, guide = rebuild(file, len(data.train), data.train.example())
    train, held_out = ((part.x, part.y) for part in (data.train, data.test))
    draws = diagnostics.draw(model, guide, *train, samples)
    classified = diagnostics.calibrations(model, guide, *held_out, small)
    found = diagnostics.figures(model, guide, draws, classified, train=train)
    page = diagnostics.report_html(
        model, guide, *train, held_out, small, draws=draws, site_khats=found["site_khats"],
        classified=classified,
    )  # fmt: skip
    write_atomic(out, page.encode())
    result = {"file": str(file), "page": str(out), **about, **found}
    report.print_diagnosed(tables, result)
    report.write_json(result, json_target)


def tau0(
    settings: Settings,
    values: tuple[float, ...] | None,
    out: Path,
    json_target: str | None,
    search: Mapping[str, Any],
    expected: tuple[float | None, float | None],
) -> None:
    """The scale tau0 of a prior by the bound, beside what each value compresses to.

    :param search: arguments of `sweep.Search`.
    :param expected: see `tau0.run`; None twice for none.
    :raises ValueError: before any training, for an unknown name or an output that cannot be
        written.
    """
    from ..diagnostics.engines import check
    from ..diagnostics.tau0 import VALUES
    from ..models.horseshoe import check_tau0
    from .plots import tau0_png
    from .sweep import Search
    from .tau0 import run

    settings = resolve(settings)
    for value in values or ():
        check_tau0("--values", value)
    check(search["engine"], search["jobs"])
    if search["learn"] not in ("global", "layer"):
        raise ValueError(f"--learn {search['learn']}: must be global or layer")
    if out.suffix != ".png":
        raise ValueError(f"--out {out}: the plot is a PNG; name a .png file")
    if (expected[0] is None) != (expected[1] is None):
        raise ValueError("--units and --level go together: so many units of a scale above it")
    check_writable(out, "--out")
    if settings.resume is not None:
        check_folder(settings.resume, "--resume")
    _check_json(json_target)
    progress, tables = consoles(json_target, settings.quiet)
    asked = None if expected[0] is None else expected
    result = run(settings, values or VALUES, progress, Search(**search), asked)
    write_atomic(out, tau0_png(result))
    result["plot"] = str(out)
    report.print_tau0(tables, result)
    report.write_json(result, json_target)


def methods(name: str | None, json_target: str | None) -> None:
    """The methods, or one of them with its options and presets, from the registry."""
    _check_json(json_target)
    keys = ("name", "prior", "guide", "paper")
    result = [
        {**{key: getattr(method, key) for key in keys}, "defaults": dict(method.defaults)}
        for method in METHODS.values()
    ]
    tables = consoles(json_target)[1]
    if name is None:
        report.print_methods(tables, result)
    else:
        method = lookup("method", name, METHODS)
        (result,) = (row for row in result if row["name"] == name)
        result["options"] = {option.flag: option.help for option in method.options}
        result["networks"] = {key: dict(preset) for key, preset in method.networks.items()}
        report.print_method(tables, result)
    report.write_json(result, json_target)


def env(json_target: str | None) -> None:
    """Versions and machine."""
    from .environment import environment

    _check_json(json_target)
    result = environment()
    report.print_environment(consoles(json_target)[1], result)
    report.write_json(result, json_target)


def _check_json(target: str | None) -> None:
    if target is not None and target != report.STDOUT:
        check_writable(Path(target), "--json")
