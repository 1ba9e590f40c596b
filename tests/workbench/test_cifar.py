"""CIFAR-10's files, in both versions, loose and in archives; the published digests are replaced."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from bitsback.workbench import cifar
from bitsback.workbench.download import DataUnavailable
from bitsback.workbench.idx import BadDataFile

IN_FILE = 6


@pytest.fixture
def batches(monkeypatch, tmp_path) -> dict[str, np.ndarray]:
    """Records of six small files, whose digests are taken for the published ones."""
    random = np.random.default_rng(0)
    made = {
        name: random.integers(0, 256, (IN_FILE, cifar.RECORD), np.uint8)
        for name in (*cifar.TRAIN, *cifar.TEST)
    }
    monkeypatch.setattr(cifar, "IN_FILE", IN_FILE)
    parts = {"train": cifar.TRAIN, "test": cifar.TEST}
    digests = {
        part: _digest(np.concatenate([made[n] for n in names])) for part, names in parts.items()
    }
    monkeypatch.setattr(cifar, "DIGESTS", digests)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BITSBACK_DATA", raising=False)
    return made


def _digest(records: np.ndarray) -> str:
    digests = sorted(hashlib.sha256(record.tobytes()).digest() for record in records)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _write_binary(folder: Path, batches: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in batches.items():
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def _pickled(records: np.ndarray) -> bytes:
    batch = {
        b"labels": records[:, 0].tolist(),
        b"data": records[:, 1:].copy(),
        b"batch_label": b"x",
    }
    data = pickle.dumps(batch, protocol=3)
    return data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def _archive(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _same(found: tuple[np.ndarray, np.ndarray], batches: dict[str, np.ndarray]) -> bool:
    whole = [np.concatenate([batches[n] for n in names]) for names in (cifar.TRAIN, cifar.TEST)]
    return all(
        sorted(r.tobytes() for r in a) == sorted(r.tobytes() for r in b)
        for a, b in zip(found, whole, strict=True)
    )


@pytest.mark.parametrize("folder", ["", "cifar10", "cifar10/cifar-10-batches-bin"])
def test_binary_files_are_found(tmp_path, batches, folder):
    _write_binary(tmp_path / "data" / folder, batches)
    assert _same(cifar.records(tmp_path / "data"), batches)


def test_every_version_gives_the_same_order(tmp_path, batches):
    _write_binary(tmp_path / "a", dict(reversed(batches.items())))
    shuffled = {name: records[::-1] for name, records in batches.items()}
    names = {f"cifar-10-batches-py/{name}": _pickled(r) for name, r in shuffled.items()}
    _archive(tmp_path / "b" / cifar.PYTHON, names)
    first, second = cifar.records(tmp_path / "a"), cifar.records(tmp_path / "b")
    assert all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))


def test_the_binary_archive_is_read(tmp_path, batches):
    files = {f"cifar-10-batches-bin/{name}.bin": r.tobytes() for name, r in batches.items()}
    _archive(tmp_path / "data" / "cifar10" / cifar.BINARY, files)
    assert _same(cifar.records(tmp_path / "data"), batches)


def test_other_images_are_refused(tmp_path, batches):
    batches["test_batch"][0, 0] ^= 1
    _write_binary(tmp_path / "data", batches)
    with pytest.raises(BadDataFile, match="test images are not those of CIFAR-10"):
        cifar.records(tmp_path / "data")


def test_a_short_file_is_refused(tmp_path, batches):
    _write_binary(tmp_path / "data", batches)
    (tmp_path / "data" / "data_batch_3.bin").write_bytes(b"12")
    with pytest.raises(BadDataFile, match=r"data_batch_3.bin has 2 bytes"):
        cifar.records(tmp_path / "data")


class _Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_pickle_runs_no_code(tmp_path, batches, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in batches:
        (folder / name).write_bytes(pickle.dumps({b"data": _Evil()}))
    with pytest.raises(BadDataFile, match=r"names builtins\.print"):
        cifar.records(folder)
    assert capsys.readouterr().out == ""


def test_a_damaged_archive_is_refused(tmp_path, batches):
    path = tmp_path / "data" / cifar.BINARY
    path.parent.mkdir()
    path.write_bytes(b"no archive")
    with pytest.raises(BadDataFile, match="not a sound archive"):
        cifar.records(tmp_path / "data")


def test_what_is_nowhere_says_where_it_was_looked_for(tmp_path, batches, monkeypatch):
    def offline(*args):
        raise OSError("no network")

    monkeypatch.setattr(cifar, "download", offline)
    (tmp_path / "data").mkdir()
    with pytest.raises(DataUnavailable, match=r"cifar10: found neither .*no network"):
        cifar.records(tmp_path / "data")


def test_a_download_is_kept(tmp_path, batches, monkeypatch):
    _archive(tmp_path / "mirror.tar.gz", {f"x/{n}.bin": r.tobytes() for n, r in batches.items()})
    data = (tmp_path / "mirror.tar.gz").read_bytes()
    monkeypatch.setattr(cifar, "download", lambda *args: data)
    assert _same(cifar.records(), batches)
    monkeypatch.setattr(cifar, "download", None)
    assert _same(cifar.records(), batches)
