"""A posterior on the CPU."""

import torch
from bitsback.posterior import Curvature, Factorisation, Grid, Group, Posterior, WeightPosterior


def test_cpu_reaches_every_tensor():
    """Nested fields too, all detached."""
    leaf = torch.ones(2, 2, requires_grad=True)
    grid = Grid(codebook=leaf * 2, codes=torch.zeros(2, 2).long(), step=leaf.sum())
    weight = WeightPosterior(leaf * 1, leaf * 3, leaf.mean(), None, (Group(0, leaf[0]),), grid,
                             Curvature(leaf[None] * 2, leaf[None] * 3))  # fmt: skip
    found = Posterior({"w": weight}, {"relu": grid}, {"v": Factorisation(leaf, leaf * 4)}).cpu()
    tensors = [
        found.weights["w"].loc, found.weights["w"].stddev, found.weights["w"].inclusion,
        found.weights["w"].groups[0].score, found.weights["w"].grid.codebook,
        found.activations["relu"].step, found.rewrites["v"].right,
        found.weights["w"].curvature.inputs, found.weights["w"].curvature.outputs,
    ]  # fmt: skip
    assert not any(tensor.requires_grad for tensor in tensors)
    assert found.weights["w"].log_alpha is None and found.weights["w"].groups[0].axis == 0
    assert found.rewrites["v"].right.equal(leaf * 4)
