"""The same network in the published coder and in the published count."""

from dataclasses import replace

from bitsback.compression.file import decode, encode
from bitsback.compression.huffman import published_bits


def other_counts(data: bytes) -> dict[str, float]:
    """`huffman_bytes` of a file's network under CSR + Huffman, and `published_bytes`.

    The latter are of weights alone, as in published tables: no biases, shapes, header or checksum.
    """
    archive = replace(decode(data), sorted={})  # that coder has no sorted rows
    return {
        "huffman_bytes": len(encode(archive, "huffman")),
        "published_bytes": sum(published_bits(archive).values()) / 8,
    }
