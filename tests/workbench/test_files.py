"""Files are written whole or not at all, and a hopeless output is refused early."""

import errno
import os
from pathlib import Path

import pytest
from bitsback.workbench.files import check_folder, check_writable


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


def test_devices_pipes_and_links(tmp_path):
    check_writable(Path("/dev/null"), "--out")
    os.mkfifo(tmp_path / "pipe")
    check_writable(tmp_path / "pipe", "--out")
    (tmp_path / "link").symlink_to(tmp_path / "no" / "f")
    with pytest.raises(ValueError, match=r"--out .*: there is no folder .*no; make it first"):
        check_writable(tmp_path / "link", "--out")


def test_a_device_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="--out /dev/null: cannot be written"):
        check_writable(Path("/dev/null"), "--out")
