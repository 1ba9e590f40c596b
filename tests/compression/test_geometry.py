"""Neighbours are those on the drawing."""

import numpy as np
from bitsback.compression.geometry import Geometry, flat_geometry, kernel_geometry


def test_neighbours_in_a_kernel():
    g = kernel_geometry(2, (3, 4))
    assert (g.groups, g.taps) == (2, 12)
    middle = 12 + 5  # second channel, y = 1, x = 1
    none = 24
    assert g.around[middle].tolist() == [
        *(16, 13, 12, 14),  # W, N, NW, NE
        *(18, 21, 22, 20),  # E, S, SE, SW
        *(none, none, none, 15, none, none, none, none),
        5,
    ]
    assert g.group[middle] == 1
    assert set(g.around[0].tolist()) == {none, 1, 4, 5}


def test_neighbours_that_were_not_kept_are_missing():
    kept = np.ones(9, dtype=bool)
    kept[[1, 3]] = False
    g = flat_geometry(9, 0, kept)
    centre = 2  # pixel 4 is the third that is left
    assert g.around[centre, :4].tolist() == [7, 7, 0, 1]
    assert g.around[centre, 4:8].tolist() == [3, 5, 6, 4]


def test_flat_inputs_are_maps_images_or_lines():
    shape = {(800, 50): (50, 16), (784, 0): (1, 784), (784, 300): (1, 784), (3072, 0): (3, 1024)}
    for (columns, units), expected in shape.items():
        g = flat_geometry(columns, units)
        assert (g.groups, g.taps) == expected
    line = flat_geometry(5, 0)
    assert line.around[2, 0] == 1
    assert line.around[2, 1] == 5
    assert flat_geometry(7, 7).taps == 1


def test_nothing_at_all():
    for g in (flat_geometry(0, 0), Geometry.of(0, 9, 3), kernel_geometry(4, (0,))):
        assert len(g.group) == 0
        assert g.around.shape == (0, 17)


def test_very_wide_matrices_have_no_neighbours():
    assert flat_geometry(1 << 18, 0).spatial
    assert not flat_geometry((1 << 18) + 1, 0).spatial
    assert not flat_geometry(7, 7).spatial
