"""The structures of `c/bitsback.h` as ctypes has them."""

from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int16,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_void_p,
)


class Tensor(Structure):
    """`bb_tensor`."""

    _fields_ = (
        ("name", c_char_p), ("lender", POINTER(c_uint16)), ("shape", c_uint32 * 8),
        ("lenders", c_int16), ("axes", c_uint8), ("role", c_uint8), ("item", c_uint8),
        ("swapped", c_uint8),
    )  # fmt: skip


class Grid(Structure):
    """`bb_grid`."""

    _fields_ = (
        ("shifts", POINTER(c_uint8)), ("positive", POINTER(c_uint16)),
        ("negative", POINTER(c_uint16)), ("positives", c_uint32), ("negatives", c_uint32),
        ("groups", c_uint32), ("step", c_uint16), ("kind", c_uint8), ("swapped", c_uint8),
    )  # fmt: skip


class Memory(Structure):
    """`bb_memory`."""

    _fields_ = (("bytes", c_void_p), ("size", c_size_t), ("used", c_size_t), ("most", c_size_t))
