"""benchmarks/error_bytes.py: which runs are a point, what a file's parts are, and both panels."""

import importlib.util
import json

import pytest
from matplotlib import pyplot

from ..project import ROOT


@pytest.fixture(scope="module")
def script():
    path = ROOT / "benchmarks" / "error_bytes.py"
    spec = importlib.util.spec_from_file_location("error_bytes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(size: int, error: float, method: str = "gaussian", **more) -> dict:
    return {
        "network": "lenet-5-caffe", "data": "mnist", "method": method, "bytes": size,
        "test_error": error, **more,
    }  # fmt: skip


ITEMS = {
    "header": 4.5, "shapes": 3.0, "masks": 0.0, "positions": 60.0, "values": 20.0, "codebooks": 2.5,
    "biases": 6.0, "raw": 0.0, "checksum": 4.0,
}  # fmt: skip
LAYERS = [
    {"name": "conv1.weight", "bytes": 30.0, "parts": {"positions": 20.0, "values": 10.0}},
    {"name": "fc1.weight", "bytes": 51.0, "parts": {"positions": 40.0, "values": 10.0}},
]
WHOLE = run(100, 1.0, compression={"layers": LAYERS, "items": ITEMS})


@pytest.fixture
def files(tmp_path):
    """Three seeds with parts and one of another method, nested; and one seed of a rate."""
    old = [{"name": "fc1.weight", "bytes": 30.0}]
    contents = {
        "three": {"runs": [WHOLE, {**WHOLE, "test_error": 1.2}, {**WHOLE, "test_error": 1.4}],
                  "deep": [{"one": run(50, 2.0, "obd", compression={"layers": old})}]},
        "one": {"runs": [run(90, 1.5, "rate", description={"beta": 0.8}, command="x --distill"),
                         run(70, 1.5, "rate", description={"beta": 0.7}, target_bytes=64),
                         run(60, 1.0) | {"network": "lenet-300-100"}]},
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return sorted(tmp_path.glob("*.json"))


def test_points(script, files):
    found = script.groups("lenet-5-caffe", "mnist", files)
    assert {name: len(runs) for name, runs in found.items()} == {
        "1  obd": 1,
        "2  rate, 64 bytes asked for": 1,
        "3  rate, beta 0.8, distilled": 1,
        "4  gaussian": 3,
    }


def test_points_of_one_name_say_their_file(script, files, tmp_path):
    (tmp_path / "more.json").write_text(json.dumps(run(120, 1.0)))
    found = script.groups("lenet-5-caffe", "mnist", [*files, tmp_path / "more.json"])
    assert list(found)[3:] == ["4  gaussian (three)", "5  gaussian (more)"]


def test_parts_sum_to_the_file(script):
    found = script.parts(WHOLE)
    assert list(found)[:4] == ["conv1 positions", "conv1 values", "fc1 positions", "fc1 values"]
    assert found["header"] == 7.5 and "masks" not in found
    assert sum(found.values()) == 100
    old = run(50, 2.0, compression={"layers": [{"name": "fc1.weight", "bytes": 30.0}]})
    assert script.parts(old) == {"fc1": 30.0, "the rest": 20.0}
    assert script.parts(run(50, 2.0)) == {}


def test_three_seeds_have_bars_and_fewer_are_hollow(script, files):
    figure, (above, below) = pyplot.subplots(2, 1)
    found = script.groups("lenet-5-caffe", "mnist", files)
    script.draw_points(above, "lenet-5-caffe", "mnist", found)
    marks = {c.get_label(): c for c in above.containers}
    assert "4  gaussian: 100 B, 1.20 %" in marks
    for label, container in marks.items():
        line, _, bars = container
        few = label.endswith("(1 seed)")
        assert (line.get_markerfacecolor() == "none") == few and len(bars) == (0 if few else 2)
    assert sum(label.endswith("(1 seed)") for label in marks) == 3
    script.draw_parts(below, found)
    assert [text.get_text() for text in below.get_yticklabels()] == [
        "1  obd, 50 B", "4  gaussian, 100 B"
    ]  # fmt: skip
    ends = {}
    for bar in below.patches:
        ends[round(bar.get_y(), 2)] = max(
            ends.get(round(bar.get_y(), 2), 0), bar.get_x() + bar.get_width()
        )
    assert list(ends.values()) == pytest.approx([100, 100])
    pyplot.close(figure)


def test_published_points_have_sources(script):
    points = [p for known in script.PUBLISHED.values() for p in known]
    assert all(p.source and 100 < p.bytes < 1e5 and 0.5 < p.error < 3 for p in points)
    assert [p.bytes for p in points if p.decoded] == [1140, 1694] * 2


@pytest.mark.parametrize(
    ("network", "data"),
    [("lenet-5-caffe", "mnist"), ("lenet-300-100", "mnist"), ("lenet-300-100", "fashion-mnist")],
)
def test_committed_results_are_drawn(script, network, data, tmp_path):
    files = sorted(script.RESULTS.glob("*.json"))
    script.draw(network, data, files, tmp_path / "plot.png")
    assert 10_000 < (tmp_path / "plot.png").stat().st_size < 250_000


def test_a_network_without_runs_is_said(script, files, tmp_path):
    with pytest.raises(ValueError, match="no run of lenet-300-100 on digits"):
        script.draw("lenet-300-100", "digits", files, tmp_path / "plot.png")


def test_a_name_that_is_none_ends_the_command(script, tmp_path, monkeypatch, capsys):
    out = tmp_path / "plot.png"
    monkeypatch.setattr("sys.argv", ["error_bytes.py", "lenet-300", "--out", str(out)])
    with pytest.raises(SystemExit):
        script.main()
    assert "no run of lenet-300 on mnist" in capsys.readouterr().err and not out.exists()
