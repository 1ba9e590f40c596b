"""Training images moved by a pixel or two, or mirrored: what a network should not mind."""

import torch
from torch import Tensor
from torch.nn import functional

_MIRROR_STREAM = 2**62  # so that mirroring does not follow from where images are moved to


def shifted(images: Tensor, most: int, seed: int) -> Tensor:
    """Each image moved by up to `most` pixels along both axes, independently and uniformly.

    Pixels at the border are repeated. A function of its arguments alone, on any device.

    :param images: shape `(batch, channels, height, width)`.
    """
    return moved(images, most, corners(len(images), most, seed))


def mirrored(images: Tensor, seed: int) -> Tensor:
    """Each image left to right with probability 1/2, independently.

    A function of its arguments alone, on any device.

    :param images: shape `(batch, channels, height, width)`.
    """
    generator = torch.Generator().manual_seed(seed + _MIRROR_STREAM)
    chosen = torch.randint(2, (len(images), 1, 1, 1), generator=generator).bool()
    return torch.where(chosen.to(images.device), images.flip(-1), images)


def corners(batch: int, most: int, seed: int) -> Tensor:
    """Where images begin within their padded ones: rows and columns, 0..2 `most`, shape (2, batch).

    On the CPU, a function of its arguments alone.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2 * most + 1, (2, batch, 1), generator=generator)[..., 0]


def moved(images: Tensor, most: int, corners: Tensor) -> Tensor:
    """The images of these corners (see `corners`), pixels at the border repeated."""
    _, _, height, width = images.shape
    rows, columns = (
        corner[:, None] + torch.arange(size, device=images.device)
        for corner, size in zip(corners.to(images.device), (height, width), strict=True)
    )
    padded = functional.pad(images, (most, most, most, most), mode="replicate")
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
