"""Tensors of integers for the tests of the profile `fast`."""

import numpy as np


def heavy(shape: tuple[int, ...], seed: int = 0, scale: float = 2.0) -> np.ndarray:
    """Laplace integers with a scale for each row and column, int32."""
    chance = np.random.default_rng(seed)
    rows = np.exp(chance.normal(0, 0.7, (shape[0], *[1] * (len(shape) - 1))))
    return np.rint(scale * rows * chance.laplace(size=shape)).astype(np.int32)


def sparse(shape: tuple[int, ...], share: float, seed: int = 0) -> np.ndarray:
    """Integers of which about this share is nonzero, int32."""
    chance = np.random.default_rng(seed)
    return (chance.integers(-3, 4, shape) * (chance.random(shape) < share)).astype(np.int32)


SHAPES = (
    (20, 8, 3, 3), (30, 50), (7,), (1, 1), (3, 1, 5), (4, 2, 1, 1), (2, 3, 2, 2, 2), (5, 1, 70, 70),
    (0, 3), (3, 0, 2), (1, 70_000), (),
)  # fmt: skip
