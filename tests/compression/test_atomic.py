"""Files are written whole or not at all, and what is not a plain file stays what it is."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bitsback.compression import atomic
from bitsback.compression.atomic import remove_leftovers, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    for data in (b"old", b"new"):
        write_atomic(tmp_path / "f", data)
        assert (tmp_path / "f").read_bytes() == data
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "[a-z]*", "net.bb"])
def test_any_name_that_a_file_can_have(tmp_path, name):
    write_atomic(tmp_path / name, b"new")
    write_atomic(tmp_path / name, b"newer")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path, exists):
    (tmp_path / "d").mkdir()
    target, link = tmp_path / "d" / "target", tmp_path / "link"
    link.symlink_to(target)
    if exists:
        target.write_bytes(b"old")
    write_atomic(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert names(tmp_path / "d") == ["target"] and names(tmp_path) == ["d", "link"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_permissions_of_an_old_file_stay(tmp_path, mode):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomic(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_usual_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "f", b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid(), reason="for the superuser")
def test_the_owner_of_an_old_file_stays(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    try:
        os.chown(path, 12, 34)
    except OSError:
        pytest.skip("this superuser gives no files away")
    write_atomic(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


def test_devices_and_pipes_are_written_into(tmp_path):
    before = os.stat("/dev/null")
    write_atomic("/dev/null", b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.stat("/dev/null").st_ino == before.st_ino
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, b"through")
    reader.join()
    assert found == [b"through"] and names(tmp_path) == ["pipe"] and pipe.is_fifo()


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_full_disk_names_the_path_and_leaves_the_old_file(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_atomic(tmp_path / "f", b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"cannot write '.*/f' \(No space left.*another") as caught:
        write_atomic(tmp_path / "f", b"new")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == b"old" and names(tmp_path) == ["f"]


def test_no_place_to_write(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write.*missing"):
        write_atomic(tmp_path / "missing" / "f", b"x")
    with pytest.raises(IsADirectoryError, match="cannot write"):
        write_atomic(tmp_path, b"x")


HANG = """
import os, sys, time
from bitsback.compression.atomic import write_atomic
os.replace = lambda *_: (print("written", flush=True), time.sleep(100))
write_atomic(sys.argv[1], b"half")
"""


def test_leftovers_of_killed_writers_go_and_those_of_living_ones_stay(tmp_path):
    path = tmp_path / "f"
    command = [sys.executable, "-P", "-c", HANG, str(path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == b"written\n"
    assert len(names(tmp_path)) == 2
    writers[0].send_signal(signal.SIGKILL)
    writers[0].communicate()
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and len(names(tmp_path)) == 2
    writers[1].send_signal(signal.SIGKILL)
    writers[1].communicate()
    remove_leftovers(path)
    assert names(tmp_path) == ["f"]


def test_files_of_others_are_no_leftovers(tmp_path):
    others = [".f.backup.part", ".f.0123456789abcdef.part.gz", ".g.0123456789abcdef.part"]
    for name in (*others, ".f.0123456789abcdef.part"):
        (tmp_path / name).write_bytes(b"")
    write_atomic(tmp_path / "f", b"new")
    assert names(tmp_path) == sorted([*others, "f"])


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "fcntl", None)
    (tmp_path / ".f.0123456789abcdef.part").write_bytes(b"")
    write_atomic(tmp_path / "f", b"new")
    assert len(names(tmp_path)) == 2


def test_a_temporary_file_that_vanishes_is_made_again(tmp_path, monkeypatch):
    """Another process may take it for a leftover before it is locked."""
    lock, removed = atomic._lock, []

    def late(handle: int) -> bool:
        if not removed:
            removed.extend(tmp_path.glob(".f.*.part"))
            removed[0].unlink()
        return lock(handle)

    monkeypatch.setattr(atomic, "_lock", late)
    write_atomic(tmp_path / "f", b"new")
    assert removed and names(tmp_path) == ["f"]


def test_a_temporary_file_that_another_has_locked_is_left_to_it(tmp_path, monkeypatch):
    """It is about to remove it."""
    others = []

    def taken(handle: int) -> bool | None:
        if not others:
            others.append(os.open(next(tmp_path.glob(".f.*.part")), os.O_RDWR))
            fcntl.flock(others[0], fcntl.LOCK_EX)
        return lock(handle)

    lock = atomic._lock
    monkeypatch.setattr(atomic, "_lock", taken)
    handle, temporary = atomic._open_temporary(tmp_path / "f")
    first = set(tmp_path.glob(".f.*.part")) - {temporary}
    assert len(first) == 1
    os.close(handle)
    os.close(others[0])


def test_many_writers_at_once(tmp_path):
    """Each finishes, and the file is one of theirs, whole."""
    errors = []

    def write(k: int) -> None:
        try:
            for _ in range(20):
                write_atomic(tmp_path / "f", bytes([k]) * 1000)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(deadline - time.monotonic())
    assert not errors and names(tmp_path) == ["f"]
    data = (tmp_path / "f").read_bytes()
    assert len(data) == 1000 and len(set(data)) == 1
