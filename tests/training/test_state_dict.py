"""Weights of trained networks: formats, names of wrappers, and files of other networks."""

import pytest
import torch
from bitsback.training.state_dict import load_weights, read_state_dict
from safetensors.torch import save_file
from torch import nn

X = torch.linspace(-1, 1, 6 * 4).reshape(6, 4)


def net(hidden: int = 5) -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 3)
    )


def same(a: nn.Module, b: nn.Module) -> bool:
    return torch.equal(a.eval()(X), b.eval()(X))


def test_missing_tensors_are_named(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"0.weight": torch.zeros(5, 4), "x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"lacks \['0.bias'.*'3.weight'\], has \['x'\] more"):
        load_weights(path, net())


def test_many_missing_tensors_are_counted(tmp_path):
    path, deep = tmp_path / "net.safetensors", nn.Sequential(*(nn.Linear(2, 2) for _ in range(9)))
    save_file({"0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match="and 9 others, has none more"):
        load_weights(path, deep)


def test_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    old, new = net(), net()
    save_file(old.state_dict(), path)
    load_weights(path, new)
    assert same(old, new)
    save_file({k: v * torch.nan for k, v in old.state_dict().items()}, path)
    with pytest.raises(ValueError, match="NaN"):
        load_weights(path, new)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves(zipped, tmp_path):
    path, old, new = tmp_path / "net.pt", net(), net()
    torch.save(old.state_dict(), path, _use_new_zipfile_serialization=zipped)
    load_weights(path, new)
    assert same(old, new)


def test_a_state_dict_beside_other_things(tmp_path):
    path, old, new, said = tmp_path / "net.th", net(), net(), []
    torch.save({"state_dict": old.state_dict(), "best": 91.7, "optimizer": {"state": {}}}, path)
    load_weights(path, new, said.append)
    assert same(old, new) and said == [f"{path}: took the state_dict under 'state_dict'"]
    torch.save({"net": old.state_dict(), "ema": old.state_dict()}, path)
    with pytest.raises(ValueError, match=r"it holds 2 state_dicts \(\['ema', 'net'\]\)"):
        load_weights(path, new)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="one state_dict of tensors; it holds none"):
        load_weights(path, new)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_wrappers(prefix, tmp_path):
    path, old, new, said = tmp_path / "net.safetensors", net(), net(), []
    save_file({prefix + name: v for name, v in old.state_dict().items()}, path)
    load_weights(path, new, said.append)
    assert same(old, new) and len(said) == prefix.count(".")
    assert read_state_dict(path).keys() == old.state_dict().keys()


def test_a_part_may_be_called_module(tmp_path):
    """Names that fit as they are stay."""
    path = tmp_path / "net.safetensors"
    old, new = (nn.ModuleDict({"module": nn.Linear(2, 2)}) for _ in range(2))
    save_file(old.state_dict(), path)
    load_weights(path, new)
    assert torch.equal(old["module"].weight, new["module"].weight)


def test_a_compiled_part(tmp_path):
    path, old, new = tmp_path / "net.pt", net(), net()
    torch.save({k.replace("0.", "0._orig_mod.", 1): v for k, v in old.state_dict().items()}, path)
    found = read_state_dict(path)
    assert found.keys() == old.state_dict().keys()
    load_weights(path, new)
    assert same(old, new)


def test_files_of_neither_kind(tmp_path):
    """A pickled module names a class, which would have to be run to be read."""
    path = tmp_path / "net.pt"
    torch.save(net(), path)
    with pytest.raises(ValueError, match=r"net\.pt: neither safetensors nor a state_dict"):
        load_weights(path, net())
    for content in (b"", b"x" * 100, b"PK\x03\x04" + b"x" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"net\.pt: neither"):
            load_weights(path, net())
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_weights(path, net())


def test_integers_for_weights_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({k: v.long() for k, v in net().state_dict().items()}, path)
    with pytest.raises(ValueError, match=r"'0\.bias' is torch\.int64, the network's is"):
        load_weights(path, net())


def test_other_shapes_leave_the_network_unchanged(tmp_path):
    path, new = tmp_path / "net.safetensors", net(6)
    before = {k: v.clone() for k, v in new.state_dict().items()}
    save_file(net().state_dict(), path)
    with pytest.raises(ValueError, match=r"'0\.bias' has shape \(5,\), the network's has \(6,\)"):
        load_weights(path, new)
    assert all(torch.equal(v, before[k]) for k, v in new.state_dict().items())
