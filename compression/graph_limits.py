"""What the attributes of a graph's operators may be in a file: one table.

A number that is not listed may be anything within +-`MAX_INT`. Words are coded by their places, so
that a word's place never changes.
"""

from __future__ import annotations

from typing import Any

from ..graph.operators import MAX_INT, Argument, Operator

MAX_OPERATORS = 1 << 10  # the numbers of operators are below this
MAX_NODES = 1 << 14  # inputs, parameters and operators together
MAX_VALUES = 1 << 15  # results of operators, all together
MAX_INPUTS = 64
MAX_ITEMS = 1024  # of a tuple among an operator's arguments
MAX_NAME = 512  # bytes of a parameter's name, of a label, or of a key
MAX_TEXT = 128  # bytes of any other text
MAX_LEAVES = 1024  # of nested inputs or outputs
MAX_DEPTH = 8  # of nested inputs or outputs
MAX_PARAMETERS = 1 << 31  # bytes of all parameters together

#: Of tensors and of arguments that name a dtype; coded by their places.
DTYPES = (
    "float32", "int64", "bool", "float16", "bfloat16", "float64", "int32", "int16", "int8", "uint8",
)  # fmt: skip

_WINDOW = 1 << 16
_LIMITS: dict[str, tuple[int, int]] = {
    "kernel_size": (1, _WINDOW),
    "stride": (0, _WINDOW),  # zeros of a pooling stand for its kernel
    "padding": (0, _WINDOW),
    "dilation": (1, _WINDOW),
    "output_padding": (0, _WINDOW),
    "output_size": (1, _WINDOW),
    "scale": (1, 1 << 10),
    "groups": (1, 1 << 24),
    "num_groups": (1, 1 << 24),
    "num_layers": (1, 256),
    "normalized_shape": (1, MAX_INT),
    "dim": (-8, 7), "dims": (-8, 7), "dim0": (-8, 7), "dim1": (-8, 7),
    "start_dim": (-8, 7), "end_dim": (-8, 7),
    "repeats": (1, 1 << 24),
    "upscale_factor": (1, 1 << 10), "downscale_factor": (1, 1 << 10),
    "sizes": (0, MAX_INT),
    "pad": (-_WINDOW, _WINDOW),
    "bits": (1, 16),
    "k": (0, MAX_INT),
    "divisor_override": (1, MAX_INT),
    "slice.step": (1, MAX_INT),
    **{f"conv{n}d.stride": (1, _WINDOW) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d.stride": (1, _WINDOW) for n in (1, 2, 3)},
    "unfold.stride": (1, _WINDOW),
    "interpolate.size": (1, _WINDOW),
    "dim2": (-8, 7), "dimension": (-8, 7),
    "windows.size": (1, MAX_INT), "windows.step": (1, MAX_INT), "slice_scatter.step": (1, MAX_INT),
    "fold.stride": (1, _WINDOW),
    "interpolation_mode": (0, 2), "padding_mode": (0, 2),
    "num_classes": (1, MAX_INT), "steps": (0, MAX_INT),
    "rows": (0, MAX_INT), "columns": (0, MAX_INT),
}  # fmt: skip
#: The words of each text; None: any text of up to `MAX_TEXT` bytes, which the operator checks.
_WORDS: dict[str, tuple[str, ...] | None] = {
    "gelu.approximate": ("none", "tanh"),
    "interpolate.mode": (
        "nearest",
        "linear",
        "bilinear",
        "bicubic",
        "trilinear",
        "area",
        "nearest-exact",
    ),
    "pad.mode": ("constant", "reflect", "replicate", "circular"),
    "einsum.equation": None,
}


def int_limits(row: Operator, argument: Argument) -> tuple[int, int]:
    """The least and the largest integer of an argument."""
    own = f"{row.name}.{argument.name}"
    return _LIMITS.get(own) or _LIMITS.get(argument.name) or (-MAX_INT, MAX_INT)


def words(row: Operator, argument: Argument) -> tuple[str, ...] | None:
    """The words that a text may be, or None for any."""
    return _WORDS.get(f"{row.name}.{argument.name}", ())


def check_ints(row: Operator, argument: Argument, value: Any) -> None:
    """Raise ValueError unless the integers in an argument are within its limits."""
    low, high = int_limits(row, argument)
    parts = value if isinstance(value, tuple) else (value,)
    if len(parts) > MAX_ITEMS:
        raise ValueError(f"operator {row.name}: {argument.name} has {len(parts)} entries")
    for part in parts:
        if type(part) is int and not low <= part <= high:
            raise ValueError(
                f"operator {row.name}: {argument.name} is {part}, not within {low}..{high}"
            )
