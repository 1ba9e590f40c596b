"""Other coders on integers, in an interpreter of their own: sizes and seconds as JSON.

    python benchmarks/coder_peers.py INTEGERS.npz

`coders.py --peers PYTHON` runs it. The file has one int32 array for each tensor. Every peer that
can be imported codes them; each is decoded again, and compared where it gives integers back.

- zstd (level 19), brotli (quality 11), xz (preset 9e): the integers as int8, or int16 where they
  need it, all tensors in one piece.
- constriction: its ANS coder with the frequencies of each tensor, tables not counted.
- nncodec: DeepCABAC, the arithmetic coder of NNCodec (ISO/IEC 15938-17), a stream for each tensor,
  its contexts optimised. The bytes are those of the payloads alone, without NNCodec's headers.
"""

import importlib.util
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from user_seconds import timed


def plain(tensors: list[np.ndarray]) -> bytes:
    """The integers in the smallest type that holds them all."""
    most = max((int(np.abs(t).max(initial=0)) for t in tensors), default=0)
    kind = np.int8 if most < 128 else np.int16
    return b"".join(np.ascontiguousarray(t, dtype=kind).tobytes() for t in tensors)


def of_bytes(pack: Callable, unpack: Callable, tensors: list[np.ndarray]) -> dict:
    """The figures of a coder of bytes."""
    data = plain(tensors)
    packed, encode = timed(lambda: pack(data))
    again, decode = timed(lambda: unpack(packed))
    assert again == data
    return {"bytes": len(packed), "encode_seconds": encode, "decode_seconds": decode}


def xz(tensors: list[np.ndarray]) -> dict:
    preset = 9 | lzma.PRESET_EXTREME
    return of_bytes(lambda data: lzma.compress(data, preset=preset), lzma.decompress, tensors)


def zstd(tensors: list[np.ndarray]) -> dict:
    import zstandard

    pack, unpack = zstandard.ZstdCompressor(level=19), zstandard.ZstdDecompressor()
    return of_bytes(pack.compress, unpack.decompress, tensors)


def brotli(tensors: list[np.ndarray]) -> dict:
    import brotli as library

    return of_bytes(library.compress, library.decompress, tensors)


def constriction(tensors: list[np.ndarray]) -> dict:
    import constriction as library

    model, stack = library.stream.model, library.stream.stack
    found = {"bytes": 0, "encode_seconds": 0.0, "decode_seconds": 0.0}
    for tensor in tensors:
        _, symbols, counts = np.unique(tensor, return_inverse=True, return_counts=True)
        if len(counts) < 2:
            continue
        symbols = symbols.reshape(-1).astype(np.int32)
        table = model.Categorical((counts / counts.sum()).astype(np.float32), perfect=False)

        def encode(symbols: np.ndarray = symbols, table: object = table) -> np.ndarray:
            coder = stack.AnsCoder()
            coder.encode_reverse(symbols, table)
            return coder.get_compressed()

        words, seconds = timed(encode)
        found["encode_seconds"] += seconds

        def decode(words: np.ndarray, table: object = table, tensor: np.ndarray = tensor):
            return stack.AnsCoder(words).decode(table, tensor.size)

        again, seconds = timed(lambda words=words, decode=decode: decode(words))
        found["decode_seconds"] += seconds
        assert np.array_equal(again, symbols)
        found["bytes"] += words.nbytes
    return found


def nncodec(tensors: list[np.ndarray]) -> dict:
    library = _deep_cabac()
    off = [library.HdspMode.AlwaysOff, np.zeros(2, dtype=np.int8)]
    found = {"bytes": 0, "encode_seconds": 0.0, "decode_seconds": 0.0}
    for tensor in tensors:
        tensor = np.ascontiguousarray(tensor, dtype=np.int32)

        def encode(tensor: np.ndarray = tensor) -> np.ndarray:
            coder = library.Encoder()
            coder.initCtxModels(11, 1)
            skipped = np.zeros(tensor.shape[0], dtype=np.int32)
            coder.encodeLayer(tensor, 0, 0, 0, 0, 0, skipped, *off, 0, 0)
            return np.array(coder.finish())

        def decode(stream: np.ndarray, shape: tuple[int, ...] = tensor.shape) -> np.ndarray:
            coder = library.Decoder()
            coder.setStream(stream)
            coder.initCtxModels(11)
            out = np.zeros(shape, dtype=np.int32)
            coder.decodeLayer(out, 0, 0, 0, 0, *off, 0, 0)
            return out

        stream, seconds = timed(encode)
        found["encode_seconds"] += seconds
        again, seconds = timed(lambda stream=stream, decode=decode: decode(stream))
        found["decode_seconds"] += seconds
        assert np.array_equal(again, tensor)
        found["bytes"] += len(stream)
    return found


def _deep_cabac() -> object:
    """NNCodec's extension alone: the package itself imports torchvision."""
    found = importlib.util.find_spec("nncodec")
    if found is None or not found.submodule_search_locations:
        raise ImportError("nncodec")
    folder = Path(found.submodule_search_locations[0]) / "extensions"
    path = next(folder.glob("deepCABAC*.so"))
    spec = importlib.util.spec_from_file_location("deepCABAC", path)
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    return library


PEERS = {
    "zstd": zstd, "brotli": brotli, "xz": xz, "constriction": constriction, "nncodec": nncodec,
}  # fmt: skip


def main() -> None:
    with np.load(sys.argv[1]) as file:
        tensors = [file[name] for name in file.files]
    found = {}
    for name, code in PEERS.items():
        try:
            found[name] = code(tensors)
        except ImportError:
            found[name] = None
    print(json.dumps(found))


if __name__ == "__main__":
    main()
