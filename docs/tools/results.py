"""Tables of results, from the files in benchmarks/results."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
RECORD = "rate-lenet-5-caffe-overshoot"  # the smallest file of LeNet-5-Caffe within the margins
HEAD = (
    "| network, data | how | original, bytes | file, bytes | error before, % | after, % |",
    "|---|---|---|---|---|---|",
)


def headlines() -> list[str]:
    """A table of six results; each row names the file that it is from."""
    return [
        *HEAD,
        _trained("LeNet-5-Caffe, MNIST", "`rate`", RECORD),
        _trained("LeNet-5-Caffe, MNIST", "`rate`, β 0.19", f"{RECORD}-beta-0.19"),
        _trained("LeNet-300-100, MNIST", "`rate`", "rate-lenet-300-100-distilled"),
        _trained("digits MLP", "default", "digits"),
        *without_training()[2:],
    ]


def without_training(up: str = "") -> list[str]:
    """A table of what `shrink` and `pack` make of a trained ResNet-20.

    :param up: the way from the page to the root.
    """
    return [*HEAD, _shrunk(up), _packed(up)]


def read(name: str) -> dict:
    """A results file."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def spread(found: dict, key: str, places: int) -> str:
    """Mean ± standard deviation over the seeds of a results file."""
    mean, deviation = found["mean"][key], found["standard_deviation"][key]
    return f"{mean:,.{places}f} ± {deviation:,.{places}f}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _link(text: str, name: str, up: str = "") -> str:
    return f"[{text}]({up}benchmarks/results/{name}.json)"


def reference(rows: dict[str, str]) -> list[str]:
    """A table of docs/results: errors, bytes and ratios of results files, by what they are of."""
    lines = [
        "| | test error before, % | test error after, % | file, bytes | ratio |",
        "|---|---|---|---|---|",
    ]
    columns = (("test_error_before", 2), ("test_error", 2), ("bytes", 0), ("ratio", 0))
    for what, name in rows.items():
        cells = [spread(read(name), key, places) for key, places in columns]
        lines.append(_row(_link(what, name, "../../"), *cells))
    return lines


def published_count(rows: dict[str, str]) -> list[str]:
    """The same networks under CSR + Huffman, as published tables count."""
    lines = ["| | CSR + Huffman file, bytes | ratio in the published count |", "|---|---|---|"]
    columns = ("huffman_bytes", "published_ratio")
    for what, name in rows.items():
        lines.append(_row(what, *(spread(read(name), key, 0) for key in columns)))
    return lines


LENETS = {
    "LeNet-300-100": "mnist-lenet-300-100",
    "LeNet-300-100, images not moved": "mnist-lenet-300-100-unmoved",
    "LeNet-5-Caffe": "mnist-lenet-5-caffe",
}
RATE = {
    "LeNet-300-100": "rate-lenet-300-100-distilled",
    "LeNet-5-Caffe": RECORD,
    "LeNet-5-Caffe, `--beta 0.42`": f"{RECORD}-beta-0.42",
    "LeNet-5-Caffe, `--beta 0.19`": f"{RECORD}-beta-0.19",
}


def _trained(what: str, how: str, name: str) -> str:
    found = read(name)
    run = found["runs"][0]
    original = round(run["bytes"] * run["ratio"])
    before, after = (spread(found, key, 2) for key in ("test_error_before", "test_error"))
    return _row(_link(what, name), how, f"{original:,}", spread(found, "bytes", 0), before, after)


def _shrunk(up: str) -> str:
    name = "shrink-resnet20"
    found, original = read(name), read("pack")["lossless"]["float32"]["file"]
    before = found["float_error_reported_half"]
    return _row(
        _link("ResNet-20, CIFAR-10", name, up), "`shrink`, no training", f"{original:,}",
        spread(found, "bytes", 0), f"{before:.2f}", spread(found, "error_reported_half", 2),
    )  # fmt: skip


def _packed(up: str) -> str:
    found = read("pack")
    original, reported = found["lossless"]["float32"]["file"], found["resnet20"]["reported"]
    before = found["resnet20"]["float_error"]["reporting"]
    return _row(
        _link("ResNet-20, CIFAR-10", "pack", up), "`pack`, no data", f"{original:,}",
        f"{reported['bytes']:,}", f"{before:.2f}", f"{reported['error']:.2f}",
    )  # fmt: skip
