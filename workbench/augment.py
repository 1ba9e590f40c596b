"""Training images moved by a pixel or two, so that a network learns what does not matter."""

import torch
from torch import Tensor
from torch.nn import functional


def shifted(images: Tensor, most: int, seed: int) -> Tensor:
    """Each image moved by up to `most` pixels along both axes, independently and uniformly.

    Pixels at the border are repeated. A function of its arguments alone, on any device.

    :param images: shape `(batch, channels, height, width)`.
    """
    batch, _, height, width = images.shape
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(2 * most + 1, (2, batch, 1), generator=generator).to(images.device)
    rows = corners[0] + torch.arange(height, device=images.device)
    columns = corners[1] + torch.arange(width, device=images.device)
    padded = functional.pad(images, (most, most, most, most), mode="replicate")
    each = torch.arange(batch, device=images.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
