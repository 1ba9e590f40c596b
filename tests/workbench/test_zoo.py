"""Every method on the reference networks, with the shortest training: it ends in a file."""

from dataclasses import replace
from pathlib import Path

import bitsback
import pytest
from bitsback.methods import METHODS
from bitsback.training.options import Options
from bitsback.workbench import pipeline
from bitsback.workbench.settings import Settings, resolve
from rich.console import Console
from safetensors.torch import save_file

NETWORKS = ("lenet-300-100", "lenet-5-caffe")
# Gates start open, at 8 bits a weight, and take some hundred steps to shut.
LONGER = {"bayesian-bits": {"epochs": 30, "lr": 2e-2}}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, tmp_path_factory):
    """A network's name and a file of its weights after one epoch."""
    folder = tmp_path_factory.mktemp(request.param)
    data = bitsback.load_data("mnist")
    model, guide = METHODS["deterministic"].pair(bitsback.network(request.param), len(data.train))
    options = Options(epochs=1)
    bitsback.fit(model, guide, (data.train.x, data.train.y), options=options)
    state = model.trained().state_dict()
    for name, weight in guide.posterior().weights.items():
        state[name].copy_(weight.loc)
    save_file(state, folder / "weights")
    return request.param, folder / "weights"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_decodable_file(method, trained, tmp_path, monkeypatch):
    """On a part of the data: all of it would take hours."""
    name, weights = trained
    data = bitsback.load_data("mnist")
    parts = {
        part: replace(getattr(data, part), x=getattr(data, part).x[:n], y=getattr(data, part).y[:n])
        for part, n in (("train", 4_000), ("validation", 1_000))
    }
    monkeypatch.setattr(pipeline, "load_data", lambda *args, **kwargs: replace(data, **parts))
    settings = Settings.of(
        data="mnist", network=name, method=method, clusters=8, weights=weights, shift=0,
        out=tmp_path / "net.bb", **{"epochs": 2} | LONGER.get(method, {}),
    )  # fmt: skip
    found = pipeline.run(resolve(settings), Console(quiet=True))
    assert found["bytes"] == Path(found["file"]).stat().st_size
    assert found["ratio"] > 8 and found["test_error"] < 15
