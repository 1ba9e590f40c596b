"""`pack`: a checkpoint as one small file, without the network's class and without data."""

import os
from collections.abc import Mapping

from torch import Tensor

from ..atomic import write_atomic_by
from .checkpoint import of_tensors, open_checkpoint
from .writer import Packed, Progress, encode


def pack(
    source: Mapping[str, Tensor] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    max_error: float | None = None,
    progress: Progress = lambda done, total, name: None,
    coder: str | None = None,
) -> Packed:
    """Compress a checkpoint into one file, which `unpack` reads.

    Without `max_error` every bit of every tensor comes back, NaN payloads and -0.0 included.
    Names, shapes, types, order, ties and the metadata of a safetensors file come back in any case.

    >>> bitsback.pack(net.state_dict(), "net.bb")
    >>> bitsback.pack("weights.safetensors", "weights.bb", max_error=0.25)

    :param source: dense tensors by name; or the path of a safetensors file, or of a state_dict that
        torch.save wrote. Nothing of a file is executed.
    :param out: the file, written whole or not at all.
    :param max_error: None for no loss. Else how far a value of float32, float16, bfloat16 or
        float64 may be off, in units of its tensor's root mean square, above 0 and at most 1. Small
        matrices get a tighter bound and vectors a much tighter one: see `lossy`. All bounds are
        checked on the decoded values. Tensors that a bound makes no smaller are kept exactly.
    :param progress: called with the bytes done, the bytes in all and the name of the tensor that
        comes next.
    :param coder: of matrices with a `max_error`: "small" (fewest bytes) or "fast". None: "fast"
        from 1,048,576 elements of them on.
    :returns: `size` in bytes, and in `bounds` the bound of each tensor that is not exact.
    :raises ValueError: the source is no such checkpoint, has tensors of another type or layout, or
        holds NaN or infinity where there is a `max_error`. Nothing is written then.
    :raises OSError: a file cannot be read or written.
    """
    if isinstance(source, str | os.PathLike):
        packed = encode(open_checkpoint(source), max_error, progress, coder)
    else:
        packed = encode(of_tensors(source), max_error, progress, coder)
    write_atomic_by(out, lambda file: file.writelines(packed.parts))
    return packed
