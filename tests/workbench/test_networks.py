"""The reference networks have the published sizes and fit the data sets they are for."""

import pytest
import torch
from bitsback.workbench.data import DATASETS
from bitsback.workbench.names import DATASET_NAMES, NETWORK_NAMES
from bitsback.workbench.networks import NETWORKS, default_network, network
from torch import nn

EXPECTED = {  # parameters, image shape
    "digits-mlp": (12_060, (1, 8, 8)),
    "lenet-300-100": (266_610, (1, 28, 28)),
    "lenet-5-caffe": (431_080, (1, 28, 28)),
    "lenet-5-caffe-relu": (431_080, (1, 28, 28)),
    "lenet-5-bayesian-bits": (582_026, (1, 28, 28)),
    "resnet-8": (78_042, (3, 32, 32)),
    "resnet-20": (269_722, (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_size_and_shape(name):
    parameters, shape = EXPECTED[name]
    net = network(name)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(3, *shape)).shape == (3, 10)


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.startswith("resnet")])
def test_layers_are_named_by_kind_and_ordinal(name):
    """Such names cost nothing in a file."""
    kinds = {nn.Conv2d: "conv", nn.MaxPool2d: "pool", nn.Linear: "fc", nn.ReLU: "relu"}
    count = dict.fromkeys(kinds, 0)
    for layer_name, layer in network(name).named_children():
        if isinstance(layer, nn.Flatten):
            assert layer_name == "flatten"
            continue
        count[type(layer)] += 1
        assert layer_name == f"{kinds[type(layer)]}{count[type(layer)]}"


def test_caffe_graph_has_one_relu():
    kinds = [type(layer) for layer in network("lenet-5-caffe")]
    assert kinds.count(nn.ReLU) == 1 and kinds.index(nn.ReLU) > kinds.index(nn.Linear)
    assert [type(m) for m in network("lenet-5-caffe-relu")].count(nn.ReLU) == 3


def test_initialisation_follows_the_seed():
    torch.manual_seed(3)
    first = network("digits-mlp").state_dict()
    torch.manual_seed(3)
    again = network("digits-mlp").state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("data", DATASETS)
def test_default_network(data):
    shapes = {"digits": (1, 8, 8), "cifar10": (3, 32, 32)}
    assert EXPECTED[default_network(data)][1] == shapes.get(data, (1, 28, 28))


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown network 'vgg'; known: digits-mlp, lenet"):
        network("vgg")


def test_names_for_help_texts_are_those_of_the_registries():
    assert tuple(NETWORKS) == NETWORK_NAMES and tuple(DATASETS) == DATASET_NAMES
