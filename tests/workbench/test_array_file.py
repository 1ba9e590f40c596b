"""One array from a file that numpy wrote."""

import numpy as np
import pytest
import torch
from bitsback.workbench.array_file import read_array


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3)),
        (np.arange(6.0, dtype=">f4"), torch.arange(6.0)),
        (np.array([[0, 255]], np.uint8), torch.tensor([[0.0, 1.0]])),
        (np.array([3, 4]), torch.tensor([3, 4])),
    ],
    ids=["float64", "big-endian", "pixels", "whole numbers"],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays(array, expected, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    np.savez(path, array) if suffix == ".npz" else np.save(path, array)
    found = read_array(path, "--calibration")
    assert found.dtype == expected.dtype and torch.equal(found, expected)


def test_what_is_no_array(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
    np.save(tmp_path / "one.npy", np.float32(1))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, said in (
        ("two.npz", "has arrays a, b; save the inputs alone"),
        ("one.npy", "must hold one array of numbers"),
        ("words.npy", "must hold one array of numbers"),
        ("text.npy", "cannot be read as .npy or .npz"),
        ("empty.npy", "cannot be read as .npy or .npz"),
    ):
        with pytest.raises(ValueError, match=said) as refused:
            read_array(tmp_path / name, "--calibration")
        assert str(refused.value).startswith("--calibration") and name in str(refused.value)
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path / "missing.npy", "--calibration")
