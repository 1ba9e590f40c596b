"""Training images moved by a pixel or two, so that a network learns what does not matter."""

import torch
from torch import Tensor
from torch.nn import functional


def shifted(images: Tensor, most: int, seed: int) -> Tensor:
    """Each image moved by up to `most` pixels along both axes, independently and uniformly.

    Pixels at the border are repeated. A function of its arguments alone, on any device.

    :param images: shape `(batch, channels, height, width)`.
    """
    return moved(images, most, corners(len(images), most, seed))


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
