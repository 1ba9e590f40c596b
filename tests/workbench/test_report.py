"""What the tables say, and what JSON holds."""

import io
import json
import math

import pytest
from bitsback.workbench import report
from rich.console import Console


def result(within: bool) -> dict:
    return {
        "network": "digits-mlp", "data": "digits", "method": "log-uniform",
        "test_error_before": 2.0, "test_error": 2.5, "nonzero_fraction": 0.01,
        "units": [64, 12, 10], "bits_per_weight": 0.25, "bytes": 431, "ratio": 60.0,
        "file": "net.bb", "no_code_length": None,
        "description_length_bits": {"weights": 2000.4, "labels": 300.2, "total": 2300.6},
        "compression": {
            "rise": {"nll": 0.002, "nll_stderr": 0.001, "error": 0.1, "error_stderr": 0.05},
            "rise_over_given": {
                "nll": 0.007, "nll_stderr": 0.002, "error": 0.4, "error_stderr": 0.06,
            },
            "margin_nll": 0.003, "margin_error": 0.2, "within_margin": within,
            "allowed_nll": 0.0041, "allowed_error": 0.25, "beats_constant": True, "warnings": [],
        },
    }  # fmt: skip


def printed(within: bool, **compression) -> str:
    stream, found = io.StringIO(), result(within)
    found["compression"] |= compression
    report.print_compressed(Console(file=stream, width=200), found)
    return stream.getvalue()


def test_the_table_says_what_was_reached():
    text = printed(within=True)
    for part in (
        "2.50 % (of the decoded file)",
        "+0.0020 ± 0.0010 nats",
        "+0.0070 ± 0.0020 nats",
        "64-12-10",
        "60.0x",
        "2,301 bits: 2,000 of",
    ):
        assert part in text
    assert "Not within" not in text


def test_bit_operations_are_said_where_a_method_counts_them():
    layers = {
        "fc1.weight": {"weight_bits": 2, "input_bits": None},
        "fc2.weight": {"weight_bits": 4, "input_bits": 8},
    }
    bops = {"relative": 0.0094, "target": 0.01, "layers": layers}
    stream = io.StringIO()
    more = {"method": "bayesian-bits", "bops": bops, "integer": {"obstacle": "no ReLU"}}
    report.print_compressed(Console(file=stream, width=200), result(True) | more)
    assert "none: no ReLU" in stream.getvalue()
    assert "0.94 % of those at 32 bits (1 % asked for)" in stream.getvalue()
    assert "inputs: 2x-, 4x8" in stream.getvalue()
    assert "bit operations" not in printed(within=True)


def test_a_file_beyond_the_margins_is_said_loudly():
    assert "Not within the margins" in printed(within=False)
    assert "0.0041 nats and 0.25 points" in printed(within=False)  # what they came to


def test_a_file_no_better_than_a_constant_is_said_to_be_that():
    text = printed(within=False, beats_constant=False, warnings=["the file is no better"])
    assert "predicts no better than a constant" in text and "nearest" not in text
    assert "Warning: the file is no better." in text
    assert "Warning" not in printed(within=False)


def test_without_the_network_at_the_start_nothing_is_said_of_it():
    assert "over the start" in printed(within=True)
    assert "over the start" not in printed(within=True, rise_over_given=None)


def strict(text: str):
    """JSON as other languages read it: Python would take NaN and Infinity, which are none."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_json_has_no_nan(tmp_path, capsys):
    figures = {"a": math.nan, "b": [math.inf, 1.0], "c": {"d": (2, None), "x.weight": -math.inf}}
    expected = {"a": None, "b": [None, 1.0], "c": {"d": [2, None], "x.weight": None}}
    expected["not_finite"] = {"a": "nan", "b.0": "inf", "c.x.weight": "-inf"}
    report.write_json(figures, "-")
    assert strict(capsys.readouterr().out) == expected
    report.write_json(figures, str(tmp_path / "figures.json"))
    assert strict((tmp_path / "figures.json").read_text()) == expected
    report.write_json(figures, None)
    with pytest.raises(OSError):
        report.write_json(figures, str(tmp_path / "missing" / "figures.json"))


def test_json_of_finite_numbers_says_no_more(capsys):
    for figures in ({"a": 1.0, "b": None}, [{"a": 2}]):
        report.write_json(figures, "-")
        assert strict(capsys.readouterr().out) == figures
    with pytest.raises(ValueError, match="not finite"):
        report.write_json([math.inf], "-")
