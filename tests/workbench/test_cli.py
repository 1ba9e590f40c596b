"""The command line: options arrive, JSON is pure, errors are one line with the right code.

What the commands call is replaced by fakes; that the parts fit together is tested on the real
ones in test_main_job.py.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from bitsback.compression.errors import CorruptFile, UnsupportedVersion
from bitsback.methods import METHODS
from bitsback.training.errors import CheckFailed
from bitsback.workbench.cli import app
from torch import nn
from typer.testing import CliRunner

RESULT = {
    "file": "digits.bb",
    "data": "digits",
    "network": "digits-mlp",
    "method": "log-uniform",
    "bytes": 1234,
    "ratio": 39.1,
    "test_error": 3.0,
    "test_error_before": 2.5,
    "nonzero_fraction": 0.05,
    "bits_per_weight": 0.82,
    "units": [64, 30, 20, 10],
    "compression": {
        "rise": {"nll": 0.001, "nll_stderr": 0.002, "error": 0.0, "error_stderr": 0.1},
        "rise_over_given": None,
        "within_margin": True,
        "warnings": [],
    },
    "kl_bits": None,
    "no_code_length": "an improper prior has no code lengths",
    "description_length_bits": None,
    "nll_bits": 31.5,
    "seed": 0,
    "seconds": 50.0,
}
REPORT = {
    "bytes": 74,
    "version": 1,
    "coder": "range",
    "label": "digits-mlp",
    "items": {"header": 9.5, "values": 60.5, "checksum": 4.0},
    "layers": [
        {
            "name": "fc1.weight",
            "shape": [10, 64],
            "kept": 5,
            "total": 640,
            "kept_units": 3,
            "levels": 4,
            "bytes": 60.5,
            "bits_per_weight": 96.8,
        }
    ],
}


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """Fakes of the modules that do the work; `fakes.seen` holds the settings of each run."""
    monkeypatch.chdir(tmp_path)
    pipeline, file = (
        ModuleType(f"bitsback.{name}") for name in ("workbench.pipeline", "compression.file")
    )
    pipeline.seen = []
    pipeline.run = lambda settings, console: pipeline.seen.append(settings) or RESULT
    file.load = lambda path, into=None: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    file.inspect = lambda data: REPORT
    file.read = lambda path: Path(path).read_bytes()
    for module in (pipeline, file):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    pipeline.file = file
    return pipeline


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def fails(*arguments, code=2) -> str:
    """The one line of an error."""
    result = call(*arguments, code=code)
    assert result.stdout == ""
    line, rest = result.stderr.split("\n", 1)
    assert rest == ""
    return line


def raising(error):
    def function(*args, **options):
        raise error

    return function


def test_compress_without_options(fakes):
    table = call("compress").stdout
    (settings,) = fakes.seen
    assert (settings.data, settings.network) == ("digits", "digits-mlp")
    assert (settings.method, str(settings.out)) == ("log-uniform", "digits-mlp-log-uniform.bb")
    for part in ("2.50 %", "3.00 %", "5.00 %", "64-30-20-10", "0.820", "1,234", "39.1x"):
        assert part in table


def test_compress_options_arrive(fakes, tmp_path):
    call(
        *("compress", "--data", "mnist", "--network", "lenet-5-caffe", "--epochs", 7),
        *("--pretrain-epochs", 2, "--batch-size", 50, "--lr", 0.01, "--kl-warmup", 4),
        *("--seed", 9, "--device", "cpu", "--compile", "no", "--threads", 2),
        *("--threshold", 2.5, "--margin-nll", 0.02, "--margin-error", 0.3),
        *("--quantiser", "stddev", "--clusters", 8, "--coder", "huffman"),
        *("--out", "a.bb", "--resume", "ck", "--force-resume", "--data-dir", tmp_path, "--quiet"),
    )
    (s,) = fakes.seen
    assert (s.data, s.network, s.epochs, s.pretrain_epochs) == ("mnist", "lenet-5-caffe", 7, 2)
    assert (s.batch_size, s.lr, s.kl_warmup, s.seed) == (50, 0.01, 4, 9)
    assert (s.device, s.compile, s.threads, s.threshold) == ("cpu", "no", 2, 2.5)
    assert (s.margin_nll, s.margin_error, s.quantiser) == (0.02, 0.3, "stddev")
    assert (s.clusters, s.coder, str(s.out), str(s.resume)) == (8, "huffman", "a.bb", "ck")
    assert (s.force_resume, s.data_dir, s.quiet) == (True, tmp_path, True)


def test_json_on_stdout_is_pure(fakes):
    result = call("compress", "--json", "-")
    assert json.loads(result.stdout) == RESULT
    assert "39.1x" in result.stderr  # the table moves out of the way


def test_json_in_a_file(fakes, tmp_path):
    call("compress", "--json", "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == RESULT


def test_quiet_prints_nothing(fakes):
    result = call("compress", "--quiet")
    assert result.stdout == result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "cifar"), "unknown data set 'cifar'; known: digits, mnist, fashion-mnist"),
        (("--network", "vgg"), "unknown network 'vgg'; known: digits-mlp, "),
        (("--method", "magic"), "unknown method 'magic'; known: log-uniform"),
        (("--epochs", 0), "--epochs 0: must be at least 1"),
        (("--lr", "nan"), "--lr nan: must be positive"),
        (("--threshold", "high"), "--threshold high: must be a number or 'validation'"),
        (("--threshold", "nan"), "--threshold nan"),
        (("--clusters", "2.5"), "--clusters 2.5: must be a whole number or 'validation'"),
        (("--clusters", 0), "--clusters 0: must be at least 1"),
        (("--coder", "zip"), "--coder zip: must be one of small, fast, huffman"),
        (("--device", "gpu"), "--device gpu: unknown; use cpu"),
        (("--device", "cuda:99"), "--device cuda:99: torch sees"),
        (("--force-resume",), "--force-resume: needs --resume"),
        (("--out", "no/a.bb"), "--out no/a.bb: there is no folder no"),
        (("--out", "."), "--out .: is a folder"),
        (("--json", "no/a.json"), "--json no/a.json: there is no folder no"),
    ],
)
def test_bad_options_stop_before_the_work(arguments, message, fakes):
    assert fails("compress", *arguments).startswith(f"error: {message}")
    assert fakes.seen == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("layer fc1:\n too big"), 2, "error: layer fc1: too big"),
        (OSError(28, "No space left on device", "a.bb"), 2, "error: a.bb: No space left on device"),
        (CheckFailed("the loss is NaN at step 3"), 1, "error: the loss is NaN at step 3"),
        (FloatingPointError("site fc1"), 1, "error: site fc1"),
        (MemoryError(), 2, "error: not enough memory; give fewer"),
        (CorruptFile("a.bb: wrong checksum"), 3, "error: a.bb: wrong checksum"),
        (UnsupportedVersion("version 9"), 3, "error: version 9"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was kept (--resume DIR keeps"),
    ],
)
def test_errors_are_one_line(error, code, line, fakes, monkeypatch):
    monkeypatch.setattr(fakes, "run", raising(error))
    assert fails("compress", code=code).startswith(line)


def test_interrupt_says_how_to_go_on(fakes, monkeypatch):
    monkeypatch.setattr(fakes, "run", raising(KeyboardInterrupt()))
    assert fails("compress", "--resume", "ck", code=130).endswith("again with --resume ck")


def test_traceback_on_demand(fakes, monkeypatch):
    monkeypatch.setattr(fakes, "run", raising(ValueError("whole story")))
    monkeypatch.setenv("BITSBACK_TRACEBACK", "1")
    result = CliRunner().invoke(app, ["compress"])
    assert isinstance(result.exception, ValueError)


def test_evaluate(fakes):
    result = json.loads(call("evaluate", "a.bb", "--data", "digits", "--json", "-").stdout)
    assert result.keys() == {*("file", "data", "likelihood", "examples", "test_error", "test_nll")}
    assert result["examples"] == 300 and 0 <= result["test_error"] <= 100


def test_evaluate_on_other_data(fakes):
    fakes.file.load = lambda path, into=None: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    line = fails("evaluate", "a.bb", "--data", "digits")
    assert line.startswith("error: a.bb does not take the 1 x 8 x 8 inputs of digits")


def test_evaluate_corrupt_file(fakes):
    fakes.file.load = raising(CorruptFile("a.bb: truncated"))
    assert fails("evaluate", "a.bb", "--data", "digits", code=3) == "error: a.bb: truncated"


def test_inspect(fakes, tmp_path):
    (tmp_path / "a.bb").write_bytes(bytes(74))
    result = json.loads(call("inspect", "a.bb", "--json", "-").stdout)
    assert result == {"file": "a.bb", **REPORT}
    table = call("inspect", "a.bb").stdout
    assert "a.bb: 74 bytes" in table and "fc1.weight" in table and "60.5" in table


def test_inspect_names_a_corrupt_file(fakes, tmp_path):
    (tmp_path / "a.bb").write_bytes(b"")
    fakes.file.inspect = raising(UnsupportedVersion("version 9"))
    assert fails("inspect", "a.bb", code=3) == "error: a.bb: version 9"


def test_inspect_missing_file(fakes):
    assert fails("inspect", "a.bb") == "error: a.bb: No such file or directory"


def test_methods():
    found = json.loads(call("methods", "--json", "-").stdout)
    assert [method["name"] for method in found] == list(METHODS)
    assert found[0].keys() == {"name", "prior", "guide", "paper", "defaults"}
    assert found[0]["defaults"]["epochs"] == METHODS[found[0]["name"]].defaults["epochs"]
    assert "Molchanov" in call("methods").stdout


@pytest.mark.parametrize("name", METHODS)
def test_one_method(name):
    found = json.loads(call("methods", name, "--json", "-").stdout)
    assert found["options"].keys() == {option.flag for option in METHODS[name].options}
    assert found["networks"].keys() == METHODS[name].networks.keys()
    assert METHODS[name].guide in call("methods", name).stdout
    assert fails("methods", "magic").startswith("error: unknown method 'magic'; known: ")


@pytest.mark.parametrize("name", METHODS)
def test_help_shows_the_options_of_the_method_alone(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = call("compress", "--help", "--method", name).stdout
    shown = set(re.findall(r"--[a-z-]+", text))
    own = {option.flag for option in METHODS[name].options}
    every = {option.flag for method in METHODS.values() for option in method.options}
    assert shown & every == own
    assert "--epochs" in shown


def test_options_of_a_method_arrive(fakes):
    call("compress", "--method", "rate", "--beta", 0.5, "--distill")
    call("compress", "--method=bayesian-bits", "--widths", "2,4", "--arm", "quantisation")
    assert [dict(s.options) for s in fakes.seen] == [
        {"beta": 0.5, "distill": True}, {"widths": (2, 4), "arm": "quantisation"},
    ]  # fmt: skip
    line = fails("compress", "--beta", 0.5)
    assert line == "error: --beta: only --method rate has it, not log-uniform"


def test_env():
    values = json.loads(call("env", "--json", "-").stdout)
    assert values["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"bitsback", "torch", "pyro-ppl", "cores", "threads", "compiler", "cuda"} <= set(values)
    assert f"cores: {len(os.sched_getaffinity(0))}\n" in call("env").stdout


def test_help_loads_nothing_heavy():
    """Torch costs seconds."""
    code = (
        "import sys; sys.argv = ['bitsback', '--help']\n"
        "from bitsback.workbench.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "assert not {'torch', 'pyro', 'numpy', 'sklearn'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "compress" in run.stdout


def test_python_m():
    run = subprocess.run(
        [sys.executable, "-P", "-m", "bitsback", "compress", "--epochs", "0"],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (2, "error: --epochs 0: must be at least 1\n")
