"""`pack` and `unpack` from end to end: files, ties, order, errors that leave nothing behind."""

import errno
import json

import pytest
import safetensors.torch
import torch
from bitsback import load, pack, unpack
from bitsback.compression import atomic
from bitsback.compression.errors import CorruptFile
from bitsback.compression.packed.unpacking import unpack_to
from torch import nn

from .samples import all_types, bits, weights


def same(left, right) -> bool:
    return list(left) == list(right) and all(
        bits(left[n]) == bits(right[n])
        and left[n].shape == right[n].shape
        and left[n].dtype == right[n].dtype
        for n in left
    )


def test_a_dictionary_comes_back(tmp_path):
    tensors = all_types()
    result = pack(tensors, tmp_path / "a.bb")
    assert same(unpack(tmp_path / "a.bb"), tensors)
    assert result.size == (tmp_path / "a.bb").stat().st_size and not result.bounds


def test_a_file_of_safetensors_comes_back_bit_for_bit(tmp_path):
    safetensors.torch.save_file(all_types(), tmp_path / "a.safetensors", metadata={"k": "é"})
    pack(tmp_path / "a.safetensors", tmp_path / "a.bb")
    unpack_to(tmp_path / "a.bb", tmp_path / "b.safetensors")
    before, after = ((tmp_path / f"{k}.safetensors").read_bytes() for k in "ab")
    assert before == after


def test_a_state_dict_of_torch_comes_back_with_its_ties(tmp_path):
    tensors = weights()
    tensors["tied"] = tensors["fc.weight"]
    torch.save(tensors, tmp_path / "a.pt")
    pack(tmp_path / "a.pt", tmp_path / "a.bb")
    found = unpack_to(tmp_path / "a.bb", tmp_path / "b.pt")
    again = torch.load(tmp_path / "b.pt", weights_only=True)
    assert same(again, tensors) and found["tensors"] == len(tensors)
    assert again["tied"].data_ptr() == again["fc.weight"].data_ptr()
    unpack_to(tmp_path / "a.bb", tmp_path / "b.safetensors")  # which has no ties
    found = safetensors.torch.load_file(tmp_path / "b.safetensors")
    assert same({name: found[name] for name in tensors}, tensors)


def test_tensors_of_safetensors_begin_at_multiples_of_their_width(tmp_path):
    tensors = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(2, dtype=torch.float64)}
    pack(tensors, tmp_path / "a.bb")
    unpack_to(tmp_path / "a.bb", tmp_path / "b.safetensors")
    data = (tmp_path / "b.safetensors").read_bytes()
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert head["b"]["data_offsets"] == [0, 16] and head["a"]["data_offsets"] == [16, 19]
    found = safetensors.torch.load_file(tmp_path / "b.safetensors")
    assert same({name: found[name] for name in tensors}, tensors)


def test_a_network_takes_the_tensors(tmp_path):
    net, other = (nn.Sequential(nn.Linear(40, 50), nn.BatchNorm1d(50)) for _ in range(2))
    pack(net.state_dict(), tmp_path / "a.bb")
    assert same(load(tmp_path / "a.bb", into=other).state_dict(), net.state_dict())
    assert not other.training
    with pytest.raises(ValueError, match=r"a\.bb.*use bitsback\.unpack"):
        load(tmp_path / "a.bb")
    with pytest.raises(ValueError, match=r"a\.bb.*not the one in the file"):
        load(tmp_path / "a.bb", into=nn.Linear(40, 50))


@pytest.mark.parametrize("error", [0.0, -1.0, 1.5, float("nan")])
def test_nonsense_for_a_bound_is_refused(tmp_path, error):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        pack(weights(), tmp_path / "a.bb", max_error=error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_has_no_bound_is_named_before_any_work(tmp_path, value):
    tensors = weights()
    tensors["fc.bias"][3] = value
    told = []
    with pytest.raises(ValueError, match=r"'fc\.bias' holds NaN or infinity.*max-error"):
        pack(tensors, tmp_path / "a.bb", 0.1, lambda *seen: told.append(seen))
    assert not told and not list(tmp_path.iterdir())
    pack(tensors, tmp_path / "a.bb")
    assert same(unpack(tmp_path / "a.bb"), tensors)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.bb.*No space left"):
        pack(weights(), tmp_path / "a.bb")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_leaves_nothing(tmp_path):
    pack(weights(), tmp_path / "a.bb")
    data = bytearray((tmp_path / "a.bb").read_bytes())
    data[100] ^= 1
    (tmp_path / "a.bb").write_bytes(data)
    with pytest.raises(CorruptFile, match=r"a\.bb.*checksum"):
        unpack_to(tmp_path / "a.bb", tmp_path / "b.safetensors")
    with pytest.raises(CorruptFile, match=r"a\.bb.*checksum"):
        unpack(tmp_path / "a.bb")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bb"]


def test_progress_counts_bytes(tmp_path):
    tensors, told = weights(), []
    pack(tensors, tmp_path / "a.bb", None, lambda *seen: told.append(seen))
    assert [name for _, _, name in told] == [*tensors, ""]
    assert told[-1][0] == told[-1][1] == sum(len(bits(t)) for t in tensors.values())
