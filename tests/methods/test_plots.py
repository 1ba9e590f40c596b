"""The plot of gates over the epochs."""

import pytest
from bitsback.methods.plots import gates_png
from bitsback.workbench import commands
from bitsback.workbench.settings import Settings


def trajectory(epochs: int, sites: int = 1) -> list[dict]:
    gates = {f"fc{k}.weight": {"units_open": 3, "widths": [0.9, 0.4]} for k in range(sites)}
    row = {"relative_bops": 0.02, "expected_bops": 0.03, "beta": 1.0, "validation_error": 2.0}
    return [{**row, "gates": gates} for _ in range(epochs)]


def test_a_plot_is_a_png_of_its_figures():
    found = {"trajectory": trajectory(3), "target": 0.01, "threshold": 0.66}
    png = gates_png(found)
    assert png[:4] == b"\x89PNG" and png == gates_png(found)
    assert png != gates_png({**found, "target": None})
    found["trajectory"][2]["gates"] = {"fc0.weight": {"units_open": 3, "widths": [0.9, 0.1]}}
    assert png != gates_png(found)


def test_without_gates_or_errors_of_validation():
    """A fixed width; a run that went on from a checkpoint of an older version."""
    rows = trajectory(2, sites=0)
    del rows[0]["validation_error"]
    assert gates_png({"trajectory": rows, "target": None, "threshold": 0.66})[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="nothing to plot"):
        gates_png({"trajectory": [], "target": None, "threshold": 0.66})


def test_errors_come_before_the_training(tmp_path):
    for given, name, match in (
        ({}, "a.png", "only --method bayesian-bits"),
        ({"method": "bayesian-bits"}, "a.pdf", "name a .png"),
        ({"method": "bayesian-bits", "load_guide": tmp_path}, "a.png", "no training"),
        ({"method": "bayesian-bits"}, "none/a.png", "no folder"),
    ):
        with pytest.raises(ValueError, match=match):
            commands.compress(Settings.of(**given, plot=tmp_path / name), None)
