"""Shifts: what each image becomes, how often, and that they can be repeated."""

import torch
from bitsback.training.augment import mirrored, shifted


def test_every_image_is_one_of_its_shifts():
    images = torch.rand(200, 2, 5, 4)
    found = shifted(images, 1, seed=3)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    counts = torch.zeros(3, 3)
    for image, original in zip(found, padded, strict=True):
        fits = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if torch.equal(image, original[:, y : y + 5, x : x + 4])
        ]
        assert len(fits) == 1
        counts[fits[0]] += 1
    assert (counts > 5).all()  # 22 expected of each; fewer than 6 once in 10^4


def test_it_is_a_function_of_the_seed():
    images = torch.rand(30, 1, 6, 6)
    assert torch.equal(shifted(images, 2, 7), shifted(images, 2, 7))
    assert not torch.equal(shifted(images, 2, 7), shifted(images, 2, 8))
    assert torch.equal(shifted(images, 0, 7), images)


def test_mirrored_images_are_half_of_them():
    images = torch.arange(400 * 6.0).reshape(400, 1, 2, 3)
    found = mirrored(images, 3)
    flipped = (found == images.flip(-1)).flatten(1).all(1)
    kept = (found == images).flatten(1).all(1)
    assert (flipped ^ kept).all() and 150 < int(flipped.sum()) < 250
    assert torch.equal(mirrored(images, 3), found) and not torch.equal(mirrored(images, 4), found)
