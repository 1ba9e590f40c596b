"""What a file may ask for: sizes, names, layers, time. All of it is refused before it is taken.

Each function raises ValueError with the reason. Readers turn it into `CorruptFile`; writers let
it pass, so that no file is written that no reader takes.
"""

from collections.abc import Iterable
from math import prod

MAX_FILE = 3 << 30  # bytes of a file; more than MAX_BYTES take in any coder
MAX_ARCHITECTURE = 1 << 20  # bytes
MAX_TENSORS = 65_536
MAX_LAYERS = 4_096  # of a network that a file rebuilds, sequences included
MAX_DEPTH = 16  # of nested sequences
MAX_DIMS = 8
MAX_NAME = 512  # bytes of UTF-8
MAX_BYTES = 1 << 31  # of all the tensors together, decoded
MAX_EMPTY = 1 << 20  # product of the other axes of a tensor with an axis of 0
MAX_FEATURES = 1 << 24  # of a normalisation; those with weights are bounded by MAX_BYTES

# Of what turns few bytes into a long or a large forward pass, by the number of dimensions.
MAX_KERNEL = {1: 1 << 14, 2: 1 << 10}  # kernel x dilation, and strides
MAX_PADDING = {1: 1 << 13, 2: 1 << 9}  # of one layer, a side
MAX_GROWTH = {1: 1 << 14, 2: 1 << 9}  # of an axis, in all layers together
MAX_OUTPUTS = 1 << 12  # of an adaptive pooling layer, for each channel

MAX_SYMBOLS_PER_BYTE = 22_800  # no decision costs less than 3.5e-4 bits
FREE_DECISIONS = 1 << 22  # half a second of the compiled coder
DECISIONS_PER_BYTE = 4_096  # half a millisecond

MAX_WEIGHTS_PER_BYTE = 90_800  # of the profile `fast`: no weight costs less than 8.8e-5 bits
FREE_WEIGHTS = 1 << 24  # 64 MiB of integers
WEIGHTS_PER_BYTE = 1 << 14


def decision_budget(size: int) -> int:
    """How many decisions a file of so many bytes may hold.

    More would be cheap to write and slow to read. A network without dead units is far below: if
    the shorter side of each matrix has fewer than 4,096 units, its nonzero weights take the bytes.
    """
    return min(MAX_SYMBOLS_PER_BYTE * size, FREE_DECISIONS + DECISIONS_PER_BYTE * size)


def check_decisions(count: int, size: int) -> None:
    """Refuse so many decisions in a file of `size` bytes."""
    if count > decision_budget(size):
        raise ValueError("the network is too empty for its size: remove its dead units first")


def weight_budget(size: int) -> int:
    """How many weights a file of so many bytes may hold in the profile `fast`.

    The weights that a network has left take the bytes: of 100 million, 100,000 are enough.
    """
    return min(MAX_WEIGHTS_PER_BYTE * size, FREE_WEIGHTS + WEIGHTS_PER_BYTE * size)


def check_weights(count: int, size: int) -> None:
    """Refuse so many weights in a file of `size` bytes in the profile `fast`."""
    if count > weight_budget(size):
        raise ValueError("the network is too empty for its size: remove its dead units first")


def check_name(name: str) -> None:
    """Refuse an empty or a long name."""
    if not name or len(name.encode()) > MAX_NAME:
        raise ValueError(f"the name {name[:MAX_NAME]!r} is empty or takes over {MAX_NAME} bytes")


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of too many axes, or one that an axis of 0 leaves empty beside large ones."""
    if len(shape) > MAX_DIMS:
        raise ValueError(f"{name!r} has {len(shape)} axes, more than {MAX_DIMS}")
    if 0 in shape and prod(n for n in shape if n) > MAX_EMPTY:
        raise ValueError(f"{name!r} is empty, but its other axes come to more than {MAX_EMPTY}")


def check_total(sizes: Iterable[int]) -> None:
    """Refuse tensors of these numbers of bytes."""
    if (total := sum(sizes)) > MAX_BYTES:
        raise ValueError(f"the tensors would take {total} bytes, more than {MAX_BYTES}")


def check_kernel(dims: int, kernel: Iterable[int], dilation: Iterable[int]) -> None:
    """Refuse a kernel that reaches too far."""
    for size, step in zip(kernel, dilation, strict=True):
        if size * step > MAX_KERNEL[dims]:
            raise ValueError(f"a kernel of {size} every {step} reaches over {MAX_KERNEL[dims]}")


def check_stride(dims: int, stride: Iterable[int]) -> None:
    """Refuse a stride that no input needs."""
    if any(step > MAX_KERNEL[dims] for step in stride):
        raise ValueError(f"a stride of {max(stride)} is over {MAX_KERNEL[dims]}")


def check_padding(dims: int, padding: Iterable[int]) -> None:
    """Refuse a padding that makes a small input a large one."""
    if any(size > MAX_PADDING[dims] for size in padding):
        raise ValueError(f"a padding of {max(padding)} is over {MAX_PADDING[dims]}")


def check_growth(dims: int, growth: int) -> None:
    """Refuse layers whose paddings together make an axis longer by so much."""
    if growth > MAX_GROWTH[dims]:
        raise ValueError(f"the layers' paddings make an axis longer by over {MAX_GROWTH[dims]}")


def check_outputs(sizes: Iterable[int]) -> None:
    """Refuse an adaptive pooling layer that makes a small input a large one."""
    if prod(sizes) > MAX_OUTPUTS:
        raise ValueError(f"outputs of {'x'.join(map(str, sizes))} are over {MAX_OUTPUTS}")
