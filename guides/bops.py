"""Bit operations of a gated network, counted as published (van Baalen et al. 2020)."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..distributions.bops_price import FLOAT_BITS, INPUT_BITS


def relative_bops(model: nn.Module, gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each layer's BOPs over those of the whole network at 32 bits, unpruned; by weight.

    BOPs = MACs x bits of weights x bits of inputs x share of outputs kept x share of inputs kept.
    Biases, pooling and rescaling are not counted. As gates are independent and each is in one
    factor only, the product of expectations is the expectation: exact, and multilinear in `gates`.

    :param model: a `models.BayesianBits` that has been measured.
    :param gates: of each site, probabilities of being open or states 0 and 1; sites without gates
        may be missing.
    :returns: scalars; their sum is the network's.
    """
    total = model.macs.sum() * FLOAT_BITS**2
    share = {name: kept(model, name, gates.get(name)) for name in model.weight_names}
    result = {}
    for k, (name, (relu, before)) in enumerate(model.inputs.items()):
        inputs = share[before] if before is not None else 1.0
        outputs = share[name] * bits(model, name, gates.get(name))
        if relu is not None:
            width = bits(model, relu, gates.get(relu))
        else:
            width = INPUT_BITS if k == 0 else FLOAT_BITS
        result[name] = model.macs[k] * outputs * width * inputs / total
    return result


def bits(model: nn.Module, site: str, gate: Tensor | None) -> Tensor:
    """Expected bits of a weight or a ReLU whose units are open."""
    _, widths = model.split(site, gate)
    known = model.macs.new_tensor(model.widths)
    return known[0] + ((known[1:] - known[:-1]) * model.reached(widths)).sum()


def kept(model: nn.Module, site: str, gate: Tensor | None) -> Tensor:
    """Expected share of a weight's output units that are open."""
    units, _ = model.split(site, gate)
    return units.mean() if len(units) else model.macs.new_ones(())
