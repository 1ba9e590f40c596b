"""Saved pairs come back as they were; files of others, and damaged ones, change nothing."""

import json

import bitsback
import pytest
import torch
from bitsback.guides import LowRank
from bitsback.methods import METHODS
from bitsback.models import Gaussian
from bitsback.training.trained import describe_guide, load_guide, save_guide
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

X, Y = torch.linspace(-1, 1, 6 * 4).reshape(6, 4), torch.arange(6) % 3


def net(hidden: int = 5) -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 3)
    )


def moved(name: str = "log-uniform", hidden: int = 5):
    """A pair whose every tensor is away from its start."""
    model, guide = METHODS[name].pair(net(hidden), 6)
    for tensor in (*model.state_dict().values(), *guide.state_dict().values()):
        tensor.add_(1)
    return model, guide


@pytest.mark.parametrize("name", METHODS)
def test_a_pair_comes_back(name, tmp_path):
    path = tmp_path / "pair.safetensors"
    torch.manual_seed(1)
    old = moved(name)
    bitsback.save_guide(path, *old, {"method": name})
    torch.manual_seed(2)
    new = METHODS[name].pair(net(), 6)
    assert bitsback.load_guide(path, *new) == {"method": name}
    for ours, theirs in zip(new, old, strict=True):
        state = theirs.state_dict()
        assert state and all(torch.equal(v, state[k]) for k, v in ours.state_dict().items())
    ours, theirs = (pair[1].posterior().weights for pair in (new, old))
    assert all(torch.equal(ours[k].loc, theirs[k].loc) for k in theirs)
    assert torch.equal(new[0].trained()[1].running_var, old[0].trained()[1].running_var)


def test_ranks_come_with_the_file(tmp_path):
    """They follow from the network that the guide was made with, which is not at hand later."""
    path = tmp_path / "pair.safetensors"
    wide = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    models = [LowRank(Gaussian(wide, 6), ranks={"0.weight": rank}) for rank in (2, 5)]
    save_guide(path, Gaussian(wide, 6), models[0])
    load_guide(path, Gaussian(wide, 6), models[1])
    factors = [guide.posterior().rewrites["0.weight"] for guide in models]
    assert factors[1].left.shape == (16, 2) and factors[1].right.equal(factors[0].right)
    full = LowRank(Gaussian(wide, 6), ranks={"0.weight": 16})
    load_guide(path, Gaussian(wide, 6), full)
    assert full.posterior().rewrites.keys() == models[0].posterior().rewrites.keys()


@pytest.mark.parametrize(
    ("name", "hidden", "message"),
    [
        ("gaussian", 5, "holds a LogUniform, not a Gaussian"),
        ("log-uniform", 6, "has shape"),
    ],
)
def test_another_pair_is_refused_and_unchanged(name, hidden, message, tmp_path):
    path = tmp_path / "pair.safetensors"
    save_guide(path, *moved())
    pair = METHODS[name].pair(net(hidden), 6)
    before = [t.clone() for module in pair for t in module.state_dict().values()]
    with pytest.raises(ValueError, match=message):
        load_guide(path, *pair)
    after = [t for module in pair for t in module.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_damaged_files(tmp_path):
    path = tmp_path / "pair.safetensors"
    save_guide(path, *moved())
    data = path.read_bytes()
    for wrong in (b"", data[:7], data[:100], data[:-1], b"x" + data):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"pair\.safetensors: not a"):
            load_guide(path, *moved())
    for text in ("{}", "[]", "x", json.dumps({"format": 2}), '{"format": 1, "model": 1}'):
        save_file({"a": torch.zeros(1)}, path, {"bitsback": text})
        with pytest.raises(ValueError, match="not a trained pair"):
            describe_guide(path)


@pytest.mark.parametrize("depth", [3000, 100_000])
def test_a_description_nested_too_deeply(depth, tmp_path):
    path = tmp_path / "pair.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"bitsback": "[" * depth + "]" * depth})
    with pytest.raises(ValueError, match=r"pair\.safetensors: not a trained pair"):
        describe_guide(path)


def test_shapes_of_no_guide_of_the_kind(tmp_path):
    """LowRank takes its ranks from the file."""
    path = tmp_path / "pair.safetensors"
    model = Gaussian(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)), 6)
    save_guide(path, model, LowRank(model, ranks={"0.weight": 2}))
    tensors = {k: v.reshape(-1)[:1].clone() for k, v in load_file(path).items()}
    with safe_open(path, "pt") as file:
        save_file(tensors, path, file.metadata())
    with pytest.raises(ValueError, match=r"pair\.safetensors: "):
        load_guide(path, model, LowRank(model, ranks={"0.weight": 2}))
