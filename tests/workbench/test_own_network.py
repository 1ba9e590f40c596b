"""Networks of the user's own, from a factory and a file of weights."""

import pytest
import torch
from bitsback.workbench.own_network import factory_name, own_network
from safetensors.torch import save_file
from torch import nn

SOURCE = """
from torch import nn

def build(width=5):
    return nn.Linear(width, 3)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

def nothing():
    return None
"""


@pytest.fixture
def nets(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    return path


def test_functions_and_classes(nets):
    assert own_network(f"{nets}:build").in_features == 5
    assert own_network(f"{nets}:build", '{"width": 7}').in_features == 7
    assert own_network(f"{nets}:build", "[8]").in_features == 8
    assert isinstance(own_network(f"{nets}:Net").fc, nn.Linear)
    assert factory_name(f"{nets}:Net") == "Net"


def test_weights(nets, tmp_path):
    file, said = tmp_path / "net.safetensors", []
    save_file({"module.weight": torch.ones(3, 5), "module.bias": torch.zeros(3)}, file)
    net = own_network(f"{nets}:build", None, file, said.append)
    assert (net.weight == 1).all() and said == [f"{file}: took 'module.' off all names"]
    with pytest.raises(ValueError, match=r"'weight' has shape \(3, 5\), the network's has"):
        own_network(f"{nets}:build", '{"width": 7}', file)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nothing", None, "nets.py:nothing: returned a NoneType; it must return an nn.Module"),
        ("build", "{", "--model-args {: is no JSON"),
        ("build", "3", "--model-args 3: must be a JSON object or array"),
        ("build", '{"depth": 2}', "raised TypeError"),
    ],
)
def test_others_are_refused(name, arguments, message, nets):
    with pytest.raises(ValueError, match=message):
        own_network(f"{nets}:{name}", arguments)
