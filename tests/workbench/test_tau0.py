"""`bitsback tau0`: its table, plot and JSON, resume, and what the choice of a value rests on."""

import json
from types import SimpleNamespace

import bitsback
import pytest
import torch
from bitsback.diagnostics import Tau0
from bitsback.distributions.half_cauchy_product import exceeds
from bitsback.training.errors import CheckFailed
from bitsback.workbench import plots, tau0
from bitsback.workbench import sweep as sweeps
from bitsback.workbench.cli import app
from bitsback.workbench.settings import Settings, positive_numbers
from torch import nn
from typer.testing import CliRunner

HERE = sweeps.Search(engine="here")
REPORT = {
    "bytes": 500,
    "ratio": 100.0,
    "within_margin": True,
    "weights": 11_900,
    "units": ["64->40", "100->10", "50->20", "10"],
    "layers": [{"kept": 400}, {"kept": 100}],
}


@pytest.fixture
def quick(monkeypatch):
    """Compression, which has tests of its own, takes no time; `quick` counts what was trained."""
    trained = []
    fit = sweeps.fit

    def counted(*args, **options):
        trained.append(options["title"])
        return fit(*args, **options)

    monkeypatch.setattr(sweeps, "fit", counted)
    monkeypatch.setattr(sweeps, "BOUND_DRAWS", 4)
    monkeypatch.setattr(sweeps, "PREDICTION_DRAWS", 2)
    compressed = SimpleNamespace(network=bitsback.network("digits-mlp"), report=REPORT)
    monkeypatch.setattr(sweeps, "compress", lambda *args, **options: compressed)
    monkeypatch.setitem(sweeps.METHOD.networks["digits-mlp"], "pretrain_epochs", 1)
    return trained


def invoke(*arguments, code: int = 0):
    run = CliRunner().invoke(app, ["tau0", "--engine", "here", *map(str, arguments)])
    assert run.exit_code == code, run.output
    return run


def test_table_plot_json_and_resume(quick, tmp_path):
    out, kept = tmp_path / "plot.png", tmp_path / "kept"
    common = ("--epochs", 2, "--out", out, "--json", tmp_path / "a.json", "--resume", kept)
    shown = invoke("--values", "0.1,1e-5", *common).output
    assert quick == ["pretrain", "start", "tau0 1e-05", "tau0 0.1", "tau0 learned"]
    assert out.read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["tau0"] for row in found["values"]] == [1e-5, 0.1]
    for row in found["values"]:
        figures = row["figures"]
        assert row["elbo_stderr"] > 0 and row["elbo"] < 0 and "parts" not in row
        assert figures["kept_weights"] == 500 and figures["bits_per_weight"] == 4000 / 11_900
        for of in ("validation", "file", "test", "file_test"):
            assert 0 <= figures[f"{of}_ece"] <= 1 and 0 <= figures[f"{of}_error"] <= 100
    learned = found["learned"]
    assert learned["tau0"] == found["evidence"]["tau0"] == 0.1
    assert 0 < learned["figures"]["learned_tau0"] != pytest.approx(0.1, rel=1e-4)
    assert found["published"]["bound_below"] > 0
    for said in ("published", "evidence", "learned", "decades", "plot: "):
        assert said in shown
    # Nothing that is kept is trained again; a new value starts where the others did.
    invoke("--values", "1e-5,0.01,0.1", *common)
    again = json.loads((tmp_path / "a.json").read_text())
    assert quick[5:] == ["tau0 0.01"]
    assert [again["values"][0], again["values"][2]] == found["values"]
    assert again["learned"] == found["learned"]
    message = invoke("--seed", 1, *common, code=2).output
    assert "sweep.json: is of a sweep with seed 0, not 1" in " ".join(message.split())


def test_one_tau0_a_layer(quick, tmp_path):
    common = ("--epochs", 2, "--out", tmp_path / "a.png", "--json", tmp_path / "a.json")
    shown = invoke("--values", "0.1", *common, "--learn", "layer").output
    ends = json.loads((tmp_path / "a.json").read_text())["learned"]["figures"]["learned_tau0"]
    assert list(ends) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert len(set(ends.values())) == 3 and all(value > 0 for value in ends.values())
    assert f"from 0.1 on: fc1.weight {ends['fc1.weight']:.3g}, fc2.weight" in " ".join(
        shown.split()
    )


def test_a_figure_that_is_not_finite_is_not_kept(quick, tmp_path):
    settings = Settings.of(network="digits-mlp", method="horseshoe", epochs=2, resume=tmp_path)
    sweep = sweeps.Sweep(settings, HERE)
    with pytest.raises(CheckFailed, match=r"tau0 0.1: a figure is not finite: .*'elbo': nan"):
        sweep._keep("0.1", row(0.1, float("nan"), 0.2, 500), *sweep.pair(0.1))
    assert not (tmp_path / "0.1.json").exists()


def test_a_kept_value_is_what_a_new_run_gives(quick, tmp_path):
    """The common start read from its file is the one that was trained."""
    settings = Settings.of(network="digits-mlp", method="horseshoe", epochs=2, resume=tmp_path)
    first = sweeps.Sweep(settings, HERE).rows([0.1, 0.2])
    (tmp_path / "0.2.json").unlink()
    assert sweeps.Sweep(settings, HERE).rows([0.1, 0.2]) == first
    assert quick.count("start") == 1


def test_a_value_starts_at_the_common_start(quick):
    """q(w) is that of the start, whatever tau0 is."""
    sweep = sweeps.Sweep(Settings.of(network="digits-mlp", method="horseshoe", epochs=2))
    start = sweep.train(1e-5, None)
    before = {k: v.clone() for k, v in start[1].state_dict().items()}
    sweep._fit = lambda *args, **options: None
    for value, learn in ((1e-8, None), (1.0, None), (0.1, "global")):
        model, guide = sweep.train(value, start, learn)
        assert model.log_tau0("fc1.weight").exp().item() == pytest.approx(value, rel=1e-5)
        for name, weight in guide.posterior().weights.items():
            expected = start[1].posterior().weights[name]
            torch.testing.assert_close(weight.loc, expected.loc, rtol=1e-4, atol=1e-7)
        for one, other in zip(model.net.parameters(), start[0].net.parameters(), strict=True):
            assert torch.equal(one, other)
    assert all(torch.equal(v, before[k]) for k, v in start[1].state_dict().items())


def test_tau0_of_an_expected_number_of_units(quick, tmp_path):
    """Of 64 + 100 + 50 units P(z s > 0.05) is the same, and 20 are expected."""
    common = ("--epochs", 2, "--out", tmp_path / "a.png", "--json", tmp_path / "a.json", "--quick")
    invoke("--values", "0.1", *common, "--units", 20, "--level", 0.05)
    found = json.loads((tmp_path / "a.json").read_text())
    chosen = found["expected_units"]
    assert chosen["of"] == 214 and found["quick"]
    assert exceeds(0.05, chosen["tau0"]) == pytest.approx(20 / 214)
    assert chosen["tau0"] in [row["tau0"] for row in found["values"]]
    assert chosen["bytes"] == 500


def row(value: float, elbo: float, nll: float, size: int) -> Tau0:
    parts = [elbo - 0.01, elbo + 0.01]
    return Tau0(value, elbo, 0.01, parts, figures={"file_nll": nll, "bytes": size})


def test_choices():
    rows = [
        row(1e-6, -1.2, 0.2020, 500),
        row(1e-5, -1.1, 0.2029, 490),
        row(1e-2, -1.0, 0.2000, 600),
        row(1.0, -1.1, 0.2031, 100),  # 0.0031 nats worse than the best file: a loss
    ]
    found = tau0.compare(rows)
    assert (found["evidence"]["tau0"], found["compression"]["tau0"]) == (1e-2, 1e-5)
    assert found["compression"]["lossless"] == [1e-6, 1e-5, 1e-2]
    assert found["compression"]["bound_below"] == pytest.approx(0.1)
    assert found["published"]["bytes"] == 490
    assert found["decades_apart"] == pytest.approx(3)
    # The pairs' differences have no spread: no other value is as good, whatever each one's error.
    assert found["evidence"]["tied"] == [1e-2]
    assert tau0.compare(rows[2:])["published"] is None


@pytest.mark.parametrize("text", ["", "a", "1,,2", "0", "-1", "nan", "inf", "1e-5;1"])
def test_values_that_are_not(text):
    with pytest.raises(ValueError, match=r"--values .*: must be numbers above 0"):
        positive_numbers("--values", text)


def test_errors_come_first(quick, tmp_path):
    assert "name a .png file" in invoke("--out", tmp_path / "page.html", code=2).output
    assert "go together" in invoke("--units", 5, code=2).output
    assert "must be global or layer" in invoke("--learn", "unit", code=2).output
    assert "unknown engine" in invoke("--engine", "dask", code=2).output
    assert "at least 1" in invoke("--jobs", 0, code=2).output
    assert "numbers above 0" in invoke("--values", "1,0", code=2).output
    said = invoke("--values", "1e-20,0.1", code=2).output
    assert "--values 1e-20: must be within 1e-19 and 1e+19" in said
    assert "tau0" in invoke("--values", "0.1", "--units", 1e-9, "--level", 1e-15, code=2).output
    assert "unknown network" in invoke("--network", "nn", code=2).output
    (tmp_path / "sweep.json").write_text("no")
    message = invoke("--resume", tmp_path, "--out", tmp_path / "a.png", code=2).output
    assert "not readable" in message
    assert quick == []


def test_positive_numbers():
    assert positive_numbers("--values", "1e-6, 1e-5,0.1") == (1e-6, 1e-5, 0.1)


def test_means():
    """The network that is compressed holds E_q[w] and the trained point parameters."""
    model, guide = sweeps.METHOD.pair(nn.Sequential(nn.Linear(3, 2)), 5)
    with torch.no_grad():
        model.net[0].bias.fill_(7.0)
    net = sweeps._with_means(model, guide)
    assert (net[0].bias == 7).all()
    torch.testing.assert_close(net[0].weight, guide.posterior().weights["0.weight"].loc)


def test_the_plot_has_paired_differences(monkeypatch):
    """Zero at the largest bound, and the pairs' errors: here none, whatever each bound's own."""
    monkeypatch.setattr(plots, "png", lambda figure: figure)
    rows = [row(1e-5, -1.1, 0.20, 490), row(1e-2, -1.0, 0.20, 600)]
    values = [tau0._plain(r) | tau0._below(rows[1], r) for r in rows]
    for value in values:
        value["figures"] |= {"validation_nll": 0.2}
    upper = plots.tau0_png({"values": values, **tau0.compare(rows)}).axes[0]
    curve = upper.containers[0].lines[0]
    assert curve.get_ydata().tolist() == pytest.approx([-0.1, 0.0])
    bars = upper.containers[0].lines[2][0].get_segments()
    assert all(bar[0][1] == pytest.approx(bar[1][1]) for bar in bars)
    assert "less the largest" in upper.get_ylabel()
