"""Networks as graphs, BatchNorms folded, with posteriors of all, some or none of their weights."""

import pytest
import torch
from bitsback.compression.traced import as_graph
from bitsback.posterior import Posterior, WeightPosterior
from torch import nn


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = []
    for channels in (1, 4, 5):
        norm = nn.BatchNorm2d(channels + 3)
        for vector in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(vector, 0.5, 2.0)
        layers += [nn.Conv2d(channels, channels + 3, 3, padding=1), norm, nn.ReLU()]
        layers += [nn.Conv2d(channels + 3, channels + (3 if channels == 1 else 1), 1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3)).eval()


@pytest.mark.parametrize("names", [(), ("0.weight",), ("4.weight", "13.weight"), None])
def test_outputs_stay_whichever_weights_have_a_posterior(names):
    """A weight without one was multiplied by its BatchNorm's scale twice."""
    whole, x = net(), torch.randn(3, 1, 6, 6)
    expected = whole(x)
    state = whole.state_dict()
    names = (
        [n for n in state if n.endswith("weight") and state[n].ndim > 1] if names is None else names
    )
    weights = {
        n: WeightPosterior(state[n].clone(), torch.full_like(state[n], 0.1), torch.ones(()))
        for n in names
    }
    graph, posterior, obstacle = as_graph(whole, Posterior(weights), x)
    assert obstacle is None and not any("running" in name for name in graph.state_dict())
    torch.testing.assert_close(graph(x), expected)
    assert posterior.weights.keys() == set(names)
    for name, weight in posterior.weights.items():
        torch.testing.assert_close(graph.state_dict()[name], weight.loc)
