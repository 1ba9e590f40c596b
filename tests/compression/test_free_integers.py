"""Integers that a gradient can move: values, slopes and code lengths against direct ones."""

import numpy as np
import pytest
import torch
from bitsback.compression.archive import Quantised, Uniform
from bitsback.compression.free_integers import FreeIntegers
from bitsback.compression.price_of_integers import MAGNITUDES


def free(codes=((0, 3, -1), (2, 0, 0))) -> FreeIntegers:
    weights = {"w": Quantised(np.array(codes, np.int32), Uniform(0.25))}
    weights["v"] = Quantised(np.array([[0, 1], [1, 0]], np.int32), Uniform(0.5))
    return FreeIntegers(weights, {"b": Quantised(np.array([4, -2], np.int32), Uniform(0.125))})


def test_values_are_those_of_the_file():
    found = free()
    with torch.no_grad():
        found.integers += torch.tensor([0.4, -0.4, 0.6, 0.0, -0.6])
        found.vectors += torch.tensor([0.1, 0.0])
    values, codes = dict(found.tensors()), found.codes()
    assert codes["w"].codes.tolist() == [[0, 3, -1], [3, 0, 0]]  # 2.6 is 3; zeros stay
    assert codes["v"].codes.tolist() == [[0, 1], [0, 0]]
    assert codes["b"].grid == Uniform(0.125)
    for name, coded in codes.items():
        assert torch.equal(values[name].detach(), torch.from_numpy(coded.values()).float())


def test_gradients_pass_through_the_rounding():
    found = free()
    found.integers.data += 0.3
    values = dict(found.tensors())
    (values["w"].sum() + 2 * values["v"].sum()).backward()
    assert found.integers.grad.tolist() == [0.25, 0.25, 0.25, 1.0, 1.0]
    unit = np.sqrt((0.5**2 + 0.25**2) / 2)
    (3 * values["b"].sum()).backward()
    assert found.vectors.grad.tolist() == pytest.approx([3 * unit, 3 * unit])


def test_bits_are_code_lengths_between_which_lines_run():
    torch.manual_seed(0)
    sizes = 1 + (torch.rand(30, 40) < 0.3).long() + (torch.rand(30, 40) < 0.1)
    codes = sizes * torch.randint(-1, 2, (30, 40))
    found = FreeIntegers({"w": Quantised(codes.numpy().astype(np.int32), Uniform(0.25))}, {})
    there = codes[codes != 0]
    density = (len(there) + 0.5) / (codes.numel() + 1)
    share = torch.tensor([float((there.abs() == k).sum()) + 0.5 for k in range(1, MAGNITUDES + 1)])
    length = 1 - (share / share.sum()).log2()
    expected = float(length[there.abs() - 1].sum()) - len(there) * np.log2(density)
    expected -= (codes.numel() - len(there)) * np.log2(1 - density)
    assert float(found.bits().detach()) == pytest.approx(expected, rel=1e-5)
    place = int((there == 3).nonzero()[0])
    seen = []
    for size in (3.0, 2.5, 2.0, 0.5, 0.0):
        found.integers.data[place] = size
        seen.append(float(found.bits().detach()) - expected)
    assert seen[1] == pytest.approx(seen[2] / 2, abs=0.01)
    assert seen[2] == pytest.approx(float(length[1] - length[2]), abs=0.01)
    nothing = -float(length[2]) - np.log2((1 - density) / density)
    assert seen[4] == pytest.approx(nothing, abs=0.01)
    one = float(length[0] - length[2])
    assert seen[3] == pytest.approx((nothing + one) / 2, abs=0.01)


def test_nothing_is_free():
    zeros = Quantised(np.zeros((2, 3), np.int32), Uniform(1.0))
    found = FreeIntegers({"w": zeros}, {})
    found.refit()
    assert float(found.bits().detach()) == 0
    assert found.codes()["w"].codes.tolist() == zeros.codes.tolist()
