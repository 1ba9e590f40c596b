"""Random graphs: facts hold, and removal changes no output."""

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from . import random_graphs
from .checks import check_facts, check_removal, kill

TOLERANCE = 1e-8


def build(kind: int, depth: int, seed: int):
    rng = random.Random(seed)
    builder = random_graphs.Builder(rng.randrange, seed)
    network = random_graphs.NETWORKS[kind](builder, depth)
    return network, tuple(builder.inputs)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2), st.integers(0, 7), st.integers(0, 1 << 20))
def test_facts(kind, depth, seed):
    network, inputs = build(kind, depth, seed)
    check_facts(network, list(inputs), TOLERANCE)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2), st.integers(0, 7), st.integers(0, 1 << 20), st.booleans())
def test_removal(kind, depth, seed, zeros_only):
    network, inputs = build(kind, depth, seed)
    check_removal(network, inputs, zeros_only, TOLERANCE)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2), st.integers(0, 6), st.integers(0, 1 << 20))
def test_units_without_parameters_go(kind, depth, seed):
    """Outputs stay as they are where whole units have been made dead."""
    network, inputs = build(kind, depth, seed)
    kill(network, 0.4, torch.Generator().manual_seed(seed))
    check_removal(network, inputs, True, TOLERANCE)
