"""Checkpoints: whole or not there, of this run or refused, and every generator in them."""

import hashlib
import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from bitsback.training import checkpoint
from bitsback.training.checkpoint import CheckpointMismatch

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
    with pytest.raises(CheckpointMismatch, match="checkpoint of format 2, this bitsback reads 99"):
        checkpoint.load(file, RUN, force=True)
    torch.save({"version": 1, "run": RUN, "state": STATE}, file)
    with pytest.raises(CheckpointMismatch, match="checkpoint of format 1, this bitsback reads 99"):
        checkpoint.load(file, RUN)


@pytest.mark.parametrize("size", [0, 1, 100, -1], ids=["empty", "1 byte", "100 bytes", "all but 1"])
def test_a_damaged_file(size, file):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"train.checkpoint: not a readable checkpoint; delete"):
        checkpoint.load(file, RUN)


def test_every_flipped_bit_is_seen(file):
    """torch looks at no checksum of the archive, and believes its sizes: memory that was there."""
    data = file.read_bytes()
    for place in range(0, 8 * len(data), 7):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"train\.checkpoint"):
            checkpoint.load(file, RUN)


def write(path: Path, content: object) -> None:
    """A checkpoint with any content."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getvalue()).digest()
    path.write_bytes(b"bitsback checkpoint 2\n" + digest + buffer.getvalue())


def test_no_code_from_a_checkpoint(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    write(tmp_path / "f", {"run": RUN, "state": Evil()})
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "f", RUN)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [[], {"run": {}}, {"run": {}, "state": 3}, {"run": True}])
def test_a_checksum_is_no_proof(content, file):
    """Somebody else's file, with a checksum that is right."""
    write(file, content)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load(file, RUN)


EPOCH = {"number": 1, "kl": 1.0, "lr": 0.1, "validation_error": None}
GOOD = {"module": {}, "optimizer": {}, "generators": {}, "step": 0, "sums": [0.0, 1.0]}
GOOD["history"] = [EPOCH]


@pytest.mark.parametrize(
    "wrong",
    [
        {"module": 1}, {"step": -1}, {"step": 1.5}, {"step": True}, {"sums": [1.0]},
        {"sums": ["a", "b"]}, {"history": [1]}, {"history": [EPOCH | {"lr": "fast"}]},
        {"history": [EPOCH | {"validation_error": []}]}, {"history": {}},
    ],
)  # fmt: skip
def test_every_field_is_checked(wrong):
    checkpoint.check_state(GOOD)
    with pytest.raises(ValueError, match=r"'\w+'.* (below 0|right type|no number)|no dictionary"):
        checkpoint.check_state(GOOD | wrong)
    with pytest.raises(ValueError, match="missing"):
        checkpoint.check_state({k: v for k, v in GOOD.items() if k != next(iter(wrong))})


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
