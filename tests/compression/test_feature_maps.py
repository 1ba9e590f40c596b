"""Feature maps in files, and how much memory they take."""

import os

import pytest
import torch
from bitsback.compression import feature_maps
from bitsback.compression.feature_maps import FeatureMaps, bytes_of_an_example, in_a_file
from bitsback.graph import trace
from torch import nn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_a_map_in_a_file_is_the_same_and_leaves_no_file(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(feature_maps.tempfile, "tempdir", str(tmp_path))
    value = (10 * torch.randn(3, 4, 5)).to(dtype).transpose(0, 1)
    found = in_a_file(value)
    assert found.dtype == dtype
    assert torch.equal(found, value)
    assert not os.listdir(tmp_path)


def test_a_map_in_a_file_can_be_changed():
    found = in_a_file(torch.zeros(3, 2))
    found += torch.ones(2)
    assert float(found.sum()) == 6


def test_a_full_folder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_maps.tempfile, "tempdir", str(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_maps.os, "fdopen", full)
    with pytest.raises(OSError, match=r"no room for feature maps: name another folder by TMPDIR"):
        in_a_file(torch.zeros(3))
    assert not os.listdir(tmp_path)


def test_bytes_are_those_that_live_at_a_time():
    layers = [nn.Linear(10, 1_000), nn.ReLU(), nn.Linear(1_000, 10), nn.Linear(10, 10)]
    net = trace(nn.Sequential(*layers).eval(), torch.randn(2, 10))
    # 1,000 outputs and their ReLUs.
    assert bytes_of_an_example(net, torch.randn(20, 10)) == 4 * 2_000


def test_views_are_not_copied(monkeypatch):
    monkeypatch.setattr(feature_maps, "IN_MEMORY", 0)
    monkeypatch.setattr(feature_maps, "LEAST", 0)
    x = torch.randn(4, 2, 3)
    net = trace(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).eval(), x)
    maps, nodes = FeatureMaps(net, x), list(net.graph.operators)
    values = {ref.node: x for ref in nodes[0].refs()}
    view = x.flatten(1)
    assert maps.kept(view, nodes[0], values) is view
    copy = x.flatten(1).clone()
    assert maps.kept(copy, nodes[0], values) is not copy
    assert maps.kept(3, nodes[0], values) == 3
