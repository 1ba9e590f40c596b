"""The source of standard normals can be replaced, for a time."""

import pytest
import torch
from bitsback.guides import MeanFieldNormal
from bitsback.guides.noise import noise_from, standard_normal
from bitsback.models import Gaussian
from torch import nn

LIKE = torch.zeros((), dtype=torch.float64)


def filled(value):
    return lambda shape, like: torch.full(shape, value, dtype=like.dtype)


def test_torchs_generator_is_the_default():
    torch.manual_seed(3)
    drawn = standard_normal((2, 3), LIKE)
    torch.manual_seed(3)
    assert drawn.equal(torch.randn(2, 3, dtype=torch.float64))


def test_nested_and_reset():
    def now():
        return standard_normal((1,), LIKE).item()

    with noise_from(filled(1.0)):
        assert now() == 1
        with noise_from(filled(2.0)):
            assert now() == 2
            with noise_from(None):
                assert now() not in (1, 2)
        assert now() == 1
    assert now() != 1
    with pytest.raises(ZeroDivisionError), noise_from(filled(1.0)):
        1 / 0  # noqa: B018
    assert now() != 1


@pytest.mark.parametrize("local", [True, False])
def test_guides_draw_from_it_alone(local):
    """A step is then a pure function of the source: torch's generator stays where it was."""
    net = nn.Sequential(nn.Linear(3, 2, bias=False))
    model = Gaussian(net, num_data=5, likelihood="normal")
    guide = MeanFieldNormal(model, init_scale=0.5, local_reparameterization=local)
    x = torch.eye(3)
    before = torch.get_rng_state()
    with noise_from(filled(1.0)):
        output = model.output(x, guide(x))
    assert torch.get_rng_state().equal(before)
    torch.testing.assert_close(output, (net[0].weight.detach() + 0.5).T)
