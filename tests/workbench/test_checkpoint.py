"""Checkpoints: whole or not there, of this run or refused, and every generator in them."""

import os
import random
import zipfile

import numpy as np
import pytest
import torch
from bitsback.workbench import checkpoint
from bitsback.workbench.checkpoint import CheckpointMismatch

RUN = {"lr": 0.1, "seed": 3, "parameters": ["a (2,)"], "kl_warmup": [0.0, 5.0]}
STATE = {"module": {"a": torch.tensor([1.0, float("inf")])}, "step": 7, "sums": [0.1, 0.2]}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.checkpoint"
    checkpoint.save(path, RUN, STATE)
    return path


def test_round_trip(file):
    state = checkpoint.load(file, RUN)
    assert torch.equal(state["module"]["a"], STATE["module"]["a"])
    assert (state["step"], state["sums"]) == (7, [0.1, 0.2])
    assert [p.name for p in file.parent.iterdir()] == ["train.checkpoint"]


@pytest.mark.parametrize("key", RUN)
def test_each_setting_that_differs_is_named(key, file):
    with pytest.raises(CheckpointMismatch, match=rf"{key} was .*, is 'other'.*--force-resume"):
        checkpoint.load(file, RUN | {key: "other"})
    assert checkpoint.load(file, RUN | {key: "other"}, force=True)["step"] == 7


def test_a_setting_too_few_or_too_many(file):
    with pytest.raises(CheckpointMismatch, match=r"lr was 0\.1, is None"):
        checkpoint.load(file, {k: v for k, v in RUN.items() if k != "lr"})
    with pytest.raises(CheckpointMismatch, match="batch was None, is 2"):
        checkpoint.load(file, RUN | {"batch": 2})


def test_every_difference_at_once(file):
    with pytest.raises(CheckpointMismatch, match=r"lr was 0\.1, is 0\.2; seed was 3, is 4"):
        checkpoint.load(file, RUN | {"seed": 4, "lr": 0.2})


def test_another_format_version(file, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    with pytest.raises(CheckpointMismatch, match="checkpoint of format 1, this bitsback reads 99"):
        checkpoint.load(file, RUN, force=True)


@pytest.mark.parametrize("size", [0, 1, 100, -1], ids=["empty", "1 byte", "100 bytes", "all but 1"])
def test_a_damaged_file(size, file):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"train.checkpoint: not a readable checkpoint; delete"):
        checkpoint.load(file, RUN)


def test_flipped_bits_in_a_tensor_are_seen(file):
    """Zip archives have a checksum of each entry, but torch does not look at it by itself."""
    with zipfile.ZipFile(file) as archive:
        name = next(n for n in archive.namelist() if "/data/" in n)
        info = archive.getinfo(name)
    data = bytearray(file.read_bytes())
    start = data.index(torch.tensor([1.0, float("inf")]).numpy().tobytes(), info.header_offset)
    data[start] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load(file, RUN)


def test_no_code_from_a_checkpoint(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"version": 1, "run": RUN, "state": Evil()}, tmp_path / "f")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "f", RUN)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_one(call, file, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(file, RUN, STATE | {"step": 8})
    assert checkpoint.load(file, RUN)["step"] == 7
    assert [p.name for p in file.parent.iterdir()] == ["train.checkpoint"]


def test_every_generator_goes_on_where_it_was(tmp_path):
    def draws():
        return torch.randn(5).tolist(), np.random.normal(size=5).tolist(), random.random()

    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    draws(), np.random.normal()  # an odd number of normals: the generator keeps one back
    checkpoint.save(tmp_path / "f", {}, checkpoint.generators())
    expected = draws()
    checkpoint.restore_generators(checkpoint.load(tmp_path / "f", {}))
    assert draws() == expected


def test_fingerprint_knows_content_shape_and_order():
    a, b = torch.arange(6.0), torch.arange(6)
    seen = {
        checkpoint.fingerprint(*tensors)
        for tensors in [(a, b), (b, a), (a.reshape(2, 3), b), (a + 1, b), (a, b + 1), (a,)]
    }
    assert len(seen) == 6
    assert checkpoint.fingerprint(a.clone(), b) == checkpoint.fingerprint(a, b)
