"""Data sets: the splits are fixed and disjoint, and no unsound file gets through."""

import contextlib
import gzip
import hashlib
import http.client
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bitsback.workbench import download, idx
from bitsback.workbench.data import load_data
from rich.progress import Progress

SHAPES = {
    "train-images-idx3-ubyte": (60, 28, 28),
    "train-labels-idx1-ubyte": (60,),
    "t10k-images-idx3-ubyte": (10, 28, 28),
    "t10k-labels-idx1-ubyte": (10,),
}


def contents(seed: int) -> dict[str, bytes]:
    """Four small IDX files, uncompressed, by name."""
    random = np.random.RandomState(seed)
    found = {}
    for name, shape in SHAPES.items():
        header = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
        found[name] = header + random.randint(0, 10, shape, np.uint8).tobytes()
    return found


MNIST, FASHION = contents(1), contents(2)
IMAGES = "train-images-idx3-ubyte"


def source(files: dict[str, bytes], mirrors: tuple[str, ...] = ()) -> idx.IdxSource:
    known = [
        idx.IdxFile(name, SHAPES[name], hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    ]
    return idx.IdxSource(*known, mirrors=mirrors)


@pytest.fixture(autouse=True)
def machine(request, tmp_path, monkeypatch):
    """A machine with small files as the published ones, an empty cache and no mirror."""
    if "slow" in request.keywords:
        return
    table = {"mnist": source(MNIST), "fashion-mnist": source(FASHION)}
    monkeypatch.setattr(idx, "SOURCES", table)
    monkeypatch.setattr(download, "DEBIAN", {})
    monkeypatch.delenv("BITSBACK_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def put(folder: Path, files: dict[str, bytes], compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def test_digits_have_the_documented_split():
    data = load_data("digits")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [1197, 300, 300]
    assert data.train.x.shape[1:] == data.input_shape == (1, 8, 8)
    everything = torch.cat([data.train.x, data.validation.x, data.test.x])
    assert everything.dtype == torch.float32 and data.train.y.dtype == torch.int64
    assert everything.min() == 0 and everything.max() == 1
    # The three parts are the whole, each image once.
    from sklearn.datasets import load_digits

    whole = torch.from_numpy(load_digits().images).float().reshape(-1, 64) / 16
    assert torch.equal(whole.sum(0), everything.reshape(-1, 64).sum(0))
    assert sorted(map(tuple, whole.tolist())) == sorted(
        map(tuple, everything.reshape(-1, 64).tolist())
    )


def test_digits_split_never_changes():
    """The order is part of every published figure."""
    digest = hashlib.sha256(load_data("digits").test.y.numpy().astype("<i8").tobytes())
    assert digest.hexdigest().startswith("b256cd4205c90bac")


def test_idx_files_have_the_documented_split(tmp_path):
    data = load_data("mnist", put(tmp_path / "d", MNIST))
    assert [len(s) for s in (data.train, data.validation, data.test)] == [55, 5, 10]
    assert data.train.x.shape == (55, 1, 28, 28)
    pixels = np.frombuffer(MNIST[IMAGES], np.uint8, offset=16).reshape(60, 784)
    both = torch.cat([data.train.x, data.validation.x]).reshape(60, 784) * 255
    assert sorted(map(tuple, both.round().byte().tolist())) == sorted(map(tuple, pixels.tolist()))


def test_images_keep_their_labels(tmp_path):
    """In the train and validation parts, which are reordered."""
    data = load_data("mnist", put(tmp_path / "d", MNIST))
    pixels = np.frombuffer(MNIST[IMAGES], np.uint8, offset=16).reshape(60, 784)
    labels = np.frombuffer(MNIST["train-labels-idx1-ubyte"], np.uint8, offset=8)
    label_of = {tuple(image): label for image, label in zip(pixels.tolist(), labels, strict=True)}
    for part in (data.train, data.validation):
        images = (part.x * 255).round().byte().reshape(-1, 784).tolist()
        assert [label_of[tuple(image)] for image in images] == part.y.tolist()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("sub", ["", "mnist"])
@pytest.mark.parametrize("how", ["argument", "environment", "cache"])
def test_places(how, sub, compressed, tmp_path, monkeypatch):
    root = {"cache": tmp_path / "cache" / "bitsback"}.get(how, tmp_path / "d")
    put(root / sub, MNIST, compressed)
    if how == "environment":
        monkeypatch.setenv("BITSBACK_DATA", str(root))
    data = load_data("mnist", root if how == "argument" else None)
    assert len(data.train) == 55


def test_debian_folder(tmp_path, monkeypatch):
    folder = put(tmp_path / "debian", FASHION, compressed=True)
    monkeypatch.setattr(download, "DEBIAN", {"fashion-mnist": folder})
    assert len(load_data("fashion-mnist").test) == 10


def test_data_dir_comes_first(tmp_path, monkeypatch):
    """A fault in the first place is reported, not hidden by a sound file in the next."""
    monkeypatch.setenv("BITSBACK_DATA", str(put(tmp_path / "good", MNIST)))
    bad = put(tmp_path / "bad", MNIST)
    (bad / IMAGES).write_bytes(b"")
    with pytest.raises(ValueError, match=r"bad.*empty file"):
        load_data("mnist", bad)


def test_other_set_in_a_shared_folder_is_passed_over(tmp_path, monkeypatch):
    shared = put(tmp_path / "shared", MNIST)
    monkeypatch.setenv("BITSBACK_DATA", str(put(tmp_path / "own", FASHION)))
    assert len(load_data("fashion-mnist", shared).train) == 55


def test_other_set_in_a_shared_folder_is_named_when_all_fails(tmp_path):
    shared = put(tmp_path / "shared", MNIST)
    with pytest.raises(OSError, match=f"{IMAGES} is the one of mnist"):
        load_data("fashion-mnist", shared)


def test_other_set_in_the_named_folder_is_an_error(tmp_path):
    put(tmp_path / "d" / "fashion-mnist", MNIST)
    with pytest.raises(ValueError, match="wrong SHA-256"):
        load_data("fashion-mnist", tmp_path / "d")


def test_offline_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("BITSBACK_DATA", str(tmp_path / "env"))
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError) as caught:
        load_data("mnist", tmp_path / "d")
    for part in ("d/mnist", "env/mnist", "cache/bitsback/mnist", "--data-dir", "$BITSBACK_DATA"):
        assert part in str(caught.value)


def test_missing_data_dir(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: there is no such folder"):
        load_data("mnist", tmp_path / "nowhere")


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'cifar'; known: digits, mnist, fashion-mnist"):
        load_data("cifar")


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes((content[-1] ^ 1,))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:-1], "truncated: expected 47056 bytes"),
        (lambda c: c[:3], "wrong magic number 000008"),
        (lambda c: b"", "wrong magic number .empty file."),
        (lambda c: b"\x00\x00\x08\x01" + c[4:], "wrong magic number 00000801"),
        (lambda c: c + b"\x00", "too long"),
        (flipped, "wrong SHA-256"),
    ],
    ids=["truncated", "stub", "empty", "magic", "long", "flipped"],
)
def test_unsound_file_is_named(spoil, message, compressed, tmp_path):
    folder = put(tmp_path / "d", MNIST | {IMAGES: spoil(MNIST[IMAGES])}, compressed)
    with pytest.raises(ValueError, match=rf"{IMAGES}.*{message}.*; delete it, or"):
        load_data("mnist", folder)


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-20], flipped, lambda c: b"no gzip", lambda c: c[:40]]
)
def test_unsound_gzip_is_named(spoil, tmp_path):
    folder = put(tmp_path / "d", MNIST, compressed=True)
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{IMAGES}\.gz: .*gzip"):
        load_data("mnist", folder)


def test_gzip_bomb_is_not_inflated(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    assert len(idx.read_content(path, limit=1000)) == 1001


@pytest.fixture
def answering():
    """A server on this machine that sends these pieces, one after a pause after the other."""
    sockets = []

    def serve(pieces: list[bytes], pause: float = 0.0) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def answer() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/{IMAGES}.gz"

    yield serve
    for server in sockets:
        server.close()


class TestDownload:
    @pytest.fixture
    def mirror(self, tmp_path, monkeypatch, web_folder):
        """A mirror on this machine that comes second, after one that does not answer."""
        folder, address = web_folder
        put(folder, MNIST, compressed=True)
        mirrors = ("http://127.0.0.1:9/closed", address)
        monkeypatch.setitem(idx.SOURCES, "mnist", source(MNIST, mirrors))
        return folder

    def test_second_mirror_then_cache(self, mirror, tmp_path, monkeypatch):
        first = load_data("mnist")
        cache = tmp_path / "cache" / "bitsback" / "mnist"
        assert sorted(p.name for p in cache.iterdir()) == sorted(f"{n}.gz" for n in MNIST)
        monkeypatch.setattr(download, "_fetch", None)  # from here on, nothing is fetched
        assert torch.equal(load_data("mnist").train.x, first.train.x)

    def test_only_what_is_missing_is_fetched(self, mirror, tmp_path):
        put(tmp_path / "d", {IMAGES: MNIST[IMAGES]})
        (mirror / f"{IMAGES}.gz").unlink()
        assert len(load_data("mnist", tmp_path / "d").train) == 55

    @pytest.mark.parametrize("spoil", [flipped, lambda c: c[:-9], lambda c: b"<html>sorry"])
    def test_unsound_download_is_refused_and_not_cached(self, spoil, mirror, tmp_path):
        path = mirror / f"{IMAGES}.gz"
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(OSError, match=f"Downloads failed: .*{IMAGES}.gz.*--data-dir"):
            load_data("mnist")
        assert not (tmp_path / "cache" / "bitsback" / "mnist" / f"{IMAGES}.gz").exists()

    def test_endless_download_is_cut(self, mirror):
        (mirror / f"{IMAGES}.gz").write_bytes(bytes(1_000_000))
        with pytest.raises(OSError, match="more than 112592 bytes"):
            load_data("mnist")

    @pytest.mark.parametrize("said", [b"abc", b"-3", b"\xb2", b"99999999999"])
    def test_what_a_server_says_of_the_length_is_not_believed(self, said, machine, answering):
        content = gzip.compress(MNIST[IMAGES])
        address = answering([b"HTTP/1.0 200 OK\r\nContent-Length: " + said + b"\r\n\r\n", content])
        with Progress(disable=True) as progress:
            try:
                assert download._fetch(address, 1 << 20, progress) == content
            except http.client.IncompleteRead:
                assert said.startswith(b"9")  # complete, but not by its own word

    def test_a_trickle_is_given_up(self, answering, monkeypatch):
        """Each byte comes in time; all of them would take days."""
        monkeypatch.setattr(download, "SECONDS_OF_SILENCE", 0.3)
        address = answering([b"HTTP/1.0 200 OK\r\n\r\n", *[b"x"] * 400], pause=0.01)
        start = time.monotonic()
        with Progress(disable=True) as progress, pytest.raises(OSError, match="slower than"):
            download._fetch(address, 1000, progress)
        assert time.monotonic() - start < 3

    def test_silent_unless_a_terminal(self, mirror, capfd):
        load_data("mnist")
        assert capfd.readouterr() == ("", "")


def test_published_sizes():
    """The sizes that the headers promise are those of the published files."""
    images = idx.IdxFile(IMAGES, (60_000, 28, 28), "")
    assert images.size == 47_040_016
    assert replace(images, shape=(60_000,)).size == 60_008


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_published_files(name):
    """On the real files, from $BITSBACK_DATA, the cache or the net; it fails without them."""
    data = load_data(name)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [55_000, 5_000, 10_000]
    assert data.train.x.max() == 1 and data.train.y.bincount().numel() == 10
    # Fixed for ever: the number of validation images of each class.
    expected = {
        "mnist": [506, 569, 488, 474, 480, 434, 523, 538, 488, 500],
        "fashion-mnist": [503, 492, 521, 503, 497, 523, 479, 484, 480, 518],
    }
    assert data.validation.y.bincount().tolist() == expected[name]
