"""Networks as integers for `coders.py`: those of files, and made-up ones of any size.

A made-up weight is Laplace or a mixture of two normal distributions, times a scale of its row and
one of its column, both log-normal, and rounded to a step. What is pruned is what is smallest.
"""

from math import prod
from pathlib import Path

import numpy as np
from bitsback.compression.archive import Quantised
from bitsback.compression.codec import decode
from safetensors.numpy import load_file

SPREAD = 0.5  # of the logarithm of a scale
LENET_5 = [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]
LENET_300_100 = [(300, 784), (100, 300), (10, 100)]
RESNET_18 = [
    (64, 3, 7, 7), *[(64, 64, 3, 3)] * 4, (128, 64, 3, 3), *[(128, 128, 3, 3)] * 3,
    (256, 128, 3, 3), *[(256, 256, 3, 3)] * 3, (512, 256, 3, 3), *[(512, 512, 3, 3)] * 3,
    (128, 64, 1, 1), (256, 128, 1, 1), (512, 256, 1, 1), (1000, 512),
]  # fmt: skip
MADE = {  # shapes, distribution, step in root mean squares, share of weights that is pruned
    "lenet-5, 1 % left": (LENET_5, "laplace", 1.0, 0.99),
    "lenet-300-100, 2 % left": (LENET_300_100, "laplace", 1.0, 0.98),
    "resnet-18, step 1 rms": (RESNET_18, "mixture", 1.0, 0.0),
    "resnet-18, step 0.25 rms": (RESNET_18, "mixture", 0.25, 0.0),
    "resnet-18, 5 % left": (RESNET_18, "laplace", 0.5, 0.95),
    "resnet-18, 0.1 % left": (RESNET_18, "laplace", 1.0, 0.999),
}
FROM_CHECKPOINT = {"step 0.5 rms": (0.5, 0.0), "step 1 rms, 10 % left": (1.0, 0.9)}
Networks = dict[str, list[np.ndarray]]


def made_up(name: str, seed: int = 0) -> list[np.ndarray]:
    """The tensors of one of `MADE`, int32."""
    shapes, kind, step, pruned = MADE[name]
    chance = np.random.default_rng(seed)
    return rounded([_weights(shape, kind, chance) for shape in shapes], step, pruned)


def square(weights: int, seed: int = 0) -> np.ndarray:
    """A square matrix of about so many weights, 3 bits each, int32."""
    side = round(weights**0.5)
    shape = (side, round(weights / side))
    return rounded([_weights(shape, "mixture", np.random.default_rng(seed))], 0.5, 0.0)[0]


def _weights(shape: tuple[int, ...], kind: str, chance: np.random.Generator) -> np.ndarray:
    rows = np.exp(chance.normal(0, SPREAD, shape[:1])).astype(np.float32)
    columns = np.exp(chance.normal(0, SPREAD, shape[1:2])).astype(np.float32)
    values = chance.standard_normal(shape, dtype=np.float32)
    if kind == "laplace":
        values = chance.laplace(size=shape).astype(np.float32)
    else:
        values *= np.where(chance.random(shape, dtype=np.float32) < 0.2, 3, 0.6).astype(np.float32)
    values *= rows.reshape(-1, *[1] * (len(shape) - 1))
    return values * columns.reshape(1, -1, *[1] * (len(shape) - 2))


def rounded(tensors: list[np.ndarray], step: float, pruned: float) -> list[np.ndarray]:
    """Integers on a step in units of each tensor's root mean square, the smallest pruned."""
    scaled = [t / (np.sqrt(np.mean(np.square(t, dtype=np.float64))) or 1.0) for t in tensors]
    least = 0.0
    if pruned:
        least = np.quantile(np.concatenate([np.abs(t).reshape(-1) for t in scaled]), pruned)
    return [np.where(np.abs(t) < least, 0, np.rint(t / step)).astype(np.int32) for t in scaled]


def of_file(path: Path) -> Networks:
    """The weights of a compressed network; or the matrices of a safetensors file, twice rounded."""
    if path.suffix != ".safetensors":
        archive = decode(path.read_bytes())
        roles = {spec.name: spec.role for spec in archive.architecture.tensors()}
        found = [t for name, t in archive.tensors.items() if roles[name] == "weight"]
        return {path.stem: [t.codes for t in found if isinstance(t, Quantised)]}
    tensors = [t for t in load_file(path).values() if t.ndim > 1 and prod(t.shape)]
    return {
        f"{path.stem}, {name}": rounded(tensors, *options)
        for name, options in FROM_CHECKPOINT.items()
    }
