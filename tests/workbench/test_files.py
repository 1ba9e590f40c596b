"""Files are written whole or not at all, and a hopeless output is refused early."""

import errno
import os

import pytest
from bitsback.workbench.files import check_folder, check_writable, write_atomic


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "f"
    for data in (b"old", b"new"):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file(call, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "f"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_check_writable(tmp_path):
    check_writable(tmp_path / "f", "--out")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"--out .*: is a folder"):
        check_writable(tmp_path, "--out")
    with pytest.raises(ValueError, match=r"--json .*there is no folder .*no; make it first"):
        check_writable(tmp_path / "no" / "f", "--json")


def test_check_writable_tries(tmp_path, monkeypatch):
    """Permission bits do not tell: the superuser passes them, a read-only disk does not."""

    def read_only(**options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(ValueError, match="Read-only file system"):
        check_writable(tmp_path / "f", "--out")


def test_check_folder(tmp_path):
    check_folder(tmp_path / "a" / "b", "--resume")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(ValueError, match=r"--resume .*f: cannot make this folder"):
        check_folder(tmp_path / "f", "--resume")
