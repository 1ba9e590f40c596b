"""Shifts: what each image becomes, how often, and that they can be repeated."""

import torch
from bitsback.workbench.augment import shifted


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
