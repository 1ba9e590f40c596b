"""Trying a pruning and a quantisation out: what it would weigh, and what it would cost.

Everything here judges candidates against one reference, the unpruned network of the float
posterior means, on the same validation examples.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..common.examples import bounds
from .architecture import Architecture, describe
from .archive import Quantised
from .matching import Matching
from .quantise import estimated_bits, on_table, select, shared
from .refine import refine_codebooks, retrain_survivors
from .scores import CHUNK, Rise, Scores, calibrate, rise, scores, spread_of
from .settings import Setting
from .uniform import bias, on_step, rounded, uniform, unitwise
from .units import remove_units
from .weights import Weights

MATCHED_RATE = 2.0**-6  # at most this for survivors that were retrained: they are few already
BIAS_BITS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
MISSES = 2  # settings beyond the margins in a row, after which coarser ones are not tried
EXACT_LEVELS = 127  # of a step for weights whose stddev is not known
FLOAT_LEVELS = (1 << 15) - 1  # on either side of zero, for weights that stay as good as floats
DOUBT = 5.0  # standard errors beyond a margin on some examples: not worth more of them
# What retraining may make good of pruning and quantisation, whatever the margins: nats, points.
RECOVERED_NLL, RECOVERED_ERROR = 0.021, 1.4
CALIBRATION = 5_000  # training inputs that BatchNorm statistics are re-estimated on
TOLERANCE = 1e-3  # of outputs against their scale, when units have been removed or moved


@dataclass(frozen=True)
class Pruned:
    """A network after pruning and unit removal, its weights still floats.

    :param weights: what the quantiser needs of each weight tensor, by name, at its new size.
    """

    threshold: float
    net: nn.Module
    weights: dict[str, Weights]
    rise: Rise
    kept: int


@dataclass
class Trial:
    """The reference, and what is needed to hold candidates against it.

    :param net: the reference network, on the CPU in eval mode.
    :param weights: every weight tensor with its stddev, by name; `kept` all True.
    :param exact: the weight tensors whose stddev is not known, being 0 everywhere.
    :param training: inputs to re-estimate BatchNorm statistics and to retrain on, or None.
    :param own: the weight tensors that keep to the posterior's own values, whatever the setting.
    """

    net: nn.Module
    architecture: Architecture
    weights: dict[str, Weights]
    exact: frozenset[str]
    x: Tensor
    y: Tensor
    likelihood: str
    margin_nll: float
    margin_error: float
    training: Tensor | None
    own: frozenset[str] = frozenset()
    reference: Scores = field(init=False)
    spread: float = field(init=False)
    matching: Matching | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.spread = spread_of(self.y, self.likelihood)
        self.calibrate(self.net)
        self.reference = scores(self.net, self.x, self.y, self.likelihood)
        if not (self.reference.nll.isfinite().all() and self.reference.error.isfinite().all()):
            raise ValueError("the network of posterior means gives NaN or infinity on validation")
        if self.training is not None:
            self.matching = Matching(self.net, self.training, self.likelihood, self.y.shape)

    def rise(self, net: nn.Module) -> Rise:
        """A network's rise over the reference; its BatchNorms are re-estimated first.

        Where the first `CHUNK` examples leave no doubt that it is beyond the margins, theirs.
        """
        self.calibrate(net)
        end = bounds(len(self.x), CHUNK)[1]
        some = scores(net, self.x[:end], self.y[:end], self.likelihood, self.spread)
        first = rise(some, self.reference.head(end))
        if not first.within(
            self.margin_nll + self.slack * RECOVERED_NLL + DOUBT * first.nll_stderr,
            self.margin_error + self.slack * RECOVERED_ERROR + DOUBT * first.error_stderr,
        ):
            return first
        rest = scores(net, self.x[end:], self.y[end:], self.likelihood, self.spread)
        return rise(some.join(rest), self.reference)

    @property
    def slack(self) -> float:
        """1 if candidates are retrained, and so may be beyond the margins before it; else 0."""
        return 0.0 if self.training is None else 1.0

    def may_fit(self, found: Rise) -> bool:
        """Whether a rise is within the margins, or retraining may yet bring it there."""
        return self.fits(found, share=self.slack)

    def fits(self, found: Rise, times: float = 1.0, share: float = 0.0) -> bool:
        """Whether a rise is within so many times the margins, and a share of `RECOVERED_*`."""
        return found.within(
            times * self.margin_nll + share * RECOVERED_NLL,
            times * self.margin_error + share * RECOVERED_ERROR,
        )

    def calibrate(self, net: nn.Module) -> None:
        """BatchNorm statistics re-estimated on training inputs, if there are any; in place."""
        if self.training is not None:
            calibrate(net, self.training[:CALIBRATION])

    def prune(self, threshold: float, masks: dict[str, Tensor]) -> Pruned:
        """The reference with only the weights of the masks, dead units removed."""
        weights = {
            name: replace(full, kept=masks[name].numpy()) if name in masks else full
            for name, full in self.weights.items()
        }
        return self._pruned(threshold, self.net, weights)

    def _pruned(self, threshold: float, net: nn.Module, weights: dict[str, Weights]) -> Pruned:
        """A copy of `net` with those of its weights that are kept, dead units removed."""
        net = copy.deepcopy(net)
        state = net.state_dict()
        for name, part in weights.items():
            state[name].mul_(torch.from_numpy(part.kept))
        self.calibrate(net)
        net, chosen = self.reduce(net)
        weights = {
            name: _part(part, *chosen[name]) if name in chosen else part
            for name, part in weights.items()
        }
        count = sum(int(part.kept.sum()) for part in weights.values())
        return Pruned(threshold, net, weights, self.rise(net), count)

    def reduce(self, net: nn.Module) -> tuple[nn.Module, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Dead units removed, if the outputs on validation inputs say that it is right.

        :return: the network, and for each weight the kept outputs and inputs.
        """
        if self.architecture.root is None:
            return net, {}
        small = remove_units(net)
        if not self.agree(net, small.net):
            return net, {}  # inputs of unusual dimensions: a unit is not what it seemed
        return small.net, {name: (o.numpy(), i.numpy()) for name, (o, i) in small.kept.items()}

    @torch.no_grad()
    def agree(self, net: nn.Module, other: nn.Module) -> bool:
        """Whether two networks give the same but for rounding, on some validation inputs."""
        x = self.x[:64]
        old, new = net(x), other(x)
        scale = float(old.abs().max()) or 1.0
        return old.shape == new.shape and float((old - new).abs().max()) <= TOLERANCE * scale

    def quantise(self, pruned: Pruned, setting: Setting) -> dict[str, Quantised]:
        """The codes of every weight tensor of a pruned network."""
        codes = {}
        for name, part in pruned.weights.items():
            largest = float(np.abs(part.values).max(initial=0.0))
            on_its_own = name in self.own or setting.kind == "grid"
            if on_its_own and part.symbols is not None:
                symbols = np.where(part.kept, part.symbols, 0)
                if part.step is not None:
                    codes[name] = on_step(symbols, part.table, part.step)
                else:
                    codes[name] = on_table(symbols, part.table)
            elif setting.kind == "codebook":
                multiplier = None if name in self.exact else setting.multiplier
                codes[name] = shared(part, setting.clusters, setting.rate, multiplier)
            elif setting.kind == "none":
                codes[name] = rounded(np.where(part.kept, part.values, 0.0), largest / FLOAT_LEVELS)
            elif name in self.exact or setting.kind == "grid":
                codes[name] = rounded(np.where(part.kept, part.values, 0.0), largest / EXACT_LEVELS)
            else:
                rule = unitwise if setting.kind == "stddev-units" else uniform
                codes[name] = rule(part, setting.multiplier)
        return codes

    def search(
        self, pruned: Pruned, settings: list[list[Setting]]
    ) -> Iterator[tuple[float, Setting, Rise]]:
        """(estimated bits, setting, rise) of quantisations, none of them retrained.

        :param settings: rows of settings, each from fine to coarse: a row is left after `MISSES`
            that cannot fit.
        """
        for row in settings:
            misses = 0
            for setting in row:
                codes = self.quantise(pruned, setting)
                found = self.rise(with_weights(pruned.net, codes))
                yield sum(estimated_bits(tensor) for tensor in codes.values()), setting, found
                misses = 0 if self.may_fit(found) else misses + 1
                if misses == MISSES:
                    break

    def retrain(self, pruned: Pruned, codes: dict[str, Quantised]) -> Pruned:
        """The weights that are not 0 in `codes`, as floats again, retrained with the biases."""
        weights = {
            name: replace(part, kept=codes[name].codes != 0)
            for name, part in pruned.weights.items()
        }
        left = self._pruned(pruned.threshold, pruned.net, weights)
        free = {name: part for name, part in left.weights.items() if name not in self.own}
        kept = {name: part.kept for name, part in free.items()}
        better = retrain_survivors(left.net, kept, _biases(left.net), self.matching)
        values = {name: better[name].double().numpy() for name in kept}
        weights = left.weights | {
            name: Weights(values[name], part.stddev, part.kept) for name, part in free.items()
        }
        net = copy.deepcopy(left.net)
        state = net.state_dict()
        for name, value in better.items():
            state[name].copy_(value)
        return replace(left, net=net, weights=weights)

    def finish(self, pruned: Pruned, setting: Setting) -> tuple[nn.Module, dict, Rise, bool]:
        """Weights on their grid, units that died of it removed, biases on coarse grids.

        With training inputs, survivors are retrained before they go on their grid, and codebooks
        and biases after it.

        :return: the network, its `Quantised` weights and biases by name, and its rise, and
            whether that is within the margins.
        """
        codes = self.quantise(pruned, setting)
        # The posterior's own values say which weight takes which; survivors must not leave them.
        if self.matching is not None and setting.kind != "grid":
            pruned = self.retrain(pruned, codes)
            codes = self.quantise(pruned, replace(setting, rate=min(setting.rate, MATCHED_RATE)))
        net = with_weights(pruned.net, codes)
        self.calibrate(net)
        net, chosen = self.reduce(net)
        codes |= {name: select(codes[name], *parts) for name, parts in chosen.items()}
        biases = _biases(net)
        if self.matching is not None:
            codes, biases = refine_codebooks(net, codes, biases, self.matching)
            net = with_weights(net, codes)
        net, coded, found = self.round_biases(net, biases)
        return net, codes | coded, found, self.fits(found)

    def round_biases(
        self, net: nn.Module, biases: dict[str, np.ndarray]
    ) -> tuple[nn.Module, dict[str, Quantised], Rise]:
        """Biases on grids as coarse as the margins let them be; the network with them, its rise.

        Of the largest tensor first, where a bit saves the most, then of the second, then of all
        others together, each time with those that follow as good as floats.
        """
        names = sorted(biases, key=lambda name: -biases[name].size)
        coded = {name: bias(biases[name], BIAS_BITS[-1]) for name in names}
        best = with_weights(net, coded)
        found = self.rise(best)
        if not self.fits(found):
            return best, coded, found
        for group in filter(None, (names[:1], names[1:2], names[2:])):
            for bits in BIAS_BITS[:-1]:
                coarser = coded | {name: bias(biases[name], bits) for name in group}
                trial = with_weights(net, coarser)
                new = self.rise(trial)
                if self.fits(new):
                    best, coded, found = trial, coarser, new
                    break
        return best, coded, found


def with_weights(net: nn.Module, codes: dict[str, Quantised]) -> nn.Module:
    """A copy of a network with the values of quantised tensors."""
    net = copy.deepcopy(net)
    state = net.state_dict()
    for name, tensor in codes.items():
        state[name].copy_(torch.from_numpy(tensor.values()))
    return net


def _part(weights: Weights, outputs: np.ndarray, inputs: np.ndarray) -> Weights:
    fields = {
        field: getattr(weights, field)[outputs][:, inputs]
        for field in ("values", "stddev", "kept", "symbols")
        if getattr(weights, field) is not None
    }
    return Weights(**fields, table=weights.table, step=weights.step)


def _biases(net: nn.Module) -> dict[str, np.ndarray]:
    """The biases of Linear and Conv layers by state_dict name, float64; shared ones once."""
    state = net.state_dict()
    biases = [spec.name for spec in describe(net).tensors() if spec.role == "bias"]
    return {name: state[name].double().numpy() for name in biases}
