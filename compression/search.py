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

from ..common.examples import Inputs, count, take
from ..graph import GraphNetwork
from .architecture import Architecture
from .archive import Quantised
from .batch_norm import CALIBRATION, batch_norms, calibrate, choose
from .layout import with_channels_last
from .matching import Matching
from .quantise import estimated_bits, on_table, select, shared
from .reduce import Places, reduce
from .refine import refine_codebooks
from .retraining import retrained, share_of
from .rounding import biases_of, round_biases, round_codebooks, with_weights
from .scores import (
    Rise,
    Scores,
    chunks,
    least_rise,
    rise,
    scores,
    spread_of,
)
from .settings import MOST_EFFORT, Setting
from .traced import EXAMPLES, agree
from .uniform import on_step, rounded, uniform, unitwise
from .weights import Weights

MATCHED_RATE = 2.0**-6  # at most this for survivors that were retrained: they are few already
MISSES = 2  # settings beyond the margins in a row, after which coarser ones are not tried
EXACT_LEVELS = 127  # of a step for weights whose stddev is not known
FLOAT_LEVELS = (1 << 15) - 1  # on either side of zero, for weights that stay as good as floats
MOST = 5.0  # margins in NLL that a standard error may stretch one to
DOUBT = 5.0  # standard errors beyond a margin on some examples: not worth more of them
# What retraining may make good of pruning and quantisation, whatever the margins: nats, points.
RECOVERED_NLL, RECOVERED_ERROR = 0.021, 1.4


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
    :param margin_nll: as asked for, like `margin_error`; candidates are held against `allowed_nll`
        and `allowed_error`.
    :param spread: the variance of normal labels; 1 for other likelihoods. NLLs are those of noise
        of variance 1, and margins those of noise as large as the labels' own, which is `spread`
        times as much: they do not depend on the unit of the labels.
    :param training: inputs to re-estimate BatchNorm statistics and to retrain on, or None.
    :param own: the weight tensors that keep to the posterior's own values, whatever the setting.
    :param starts: by threshold, where retraining begins; see `retraining`.
    :param batch_norm: the reference's rise when its BatchNorm statistics are re-estimated; None
        without training inputs or such layers.
    :param recalibrates: whether candidates have theirs re-estimated: unless that takes the
        reference beyond the margins, because its statistics belong to other weights.
    """

    net: nn.Module
    architecture: Architecture
    weights: dict[str, Weights]
    exact: frozenset[str]
    x: Inputs
    y: Tensor
    likelihood: str
    margin_nll: float
    margin_error: float
    training: Inputs | None
    own: frozenset[str] = frozenset()
    effort: int = MOST_EFFORT
    reference: Scores = field(init=False)
    spread: float = field(init=False)
    matching: Matching | None = field(init=False, default=None)
    starts: dict[float, dict[str, np.ndarray]] = field(init=False, default_factory=dict)
    batch_norm: Rise | None = field(init=False, default=None)
    recalibrates: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.net = with_channels_last(self.net)
        self.spread = spread_of(self.y, self.likelihood)
        self.reference = scores(self.net, self.x, self.y, self.likelihood)
        if self.training is not None and batch_norms(self.net):
            self._choose_statistics(self.training)
        if not (self.reference.nll.isfinite().all() and self.reference.error.isfinite().all()):
            raise ValueError("the network of posterior means gives NaN or infinity on validation")
        if self.training is not None:
            self.matching = Matching(
                self.net, self.training, self.likelihood, self.y.shape, self.effort / MOST_EFFORT
            )

    def _choose_statistics(self, inputs: Inputs) -> None:
        """The reference with the BatchNorm statistics, as given or re-estimated, of lower NLL."""
        choice = choose(self.net, inputs, self.x, self.y, self.likelihood)
        self.batch_norm = choice.rise
        self.recalibrates = not choice.given_is_finite or self.fits(choice.rise)
        self.net, self.reference = choice.net, choice.scores

    @property
    def allowed_error(self) -> float:
        """The margin in error [points], but at least one wrong label; 0 stays 0.

        Fewer labels than one cannot be wrong, so that a smaller margin would be none.
        """
        return max(self.margin_error, least_rise(self.y, self.likelihood) * (self.margin_error > 0))

    def allowed_nll(self, found: Rise) -> float:
        """The margin in NLL [nats], or one standard error of the rise if that is more; 0 stays 0.

        A smaller rise cannot be told from none. Never more than `MOST` margins.
        """
        margin = self.spread * self.margin_nll
        return max(margin, min(found.nll_stderr, MOST * margin))

    def rise(self, net: nn.Module) -> Rise:
        """A network's rise over the reference; its BatchNorms are re-estimated first.

        Where the first chunk of examples leaves no doubt that it is beyond the margins, its rise.
        """
        self.calibrate(net)
        size = count(chunks(self.x)[0])
        head = take(self.x, slice(size))
        some = scores(net, head, self.y[:size], self.likelihood, self.spread)
        first = rise(some, self.reference.head(size))
        if not first.within(
            self.spread * (self.margin_nll + self.slack * RECOVERED_NLL) + DOUBT * first.nll_stderr,
            self.allowed_error + self.slack * RECOVERED_ERROR + DOUBT * first.error_stderr,
        ):
            return first
        tail = take(self.x, slice(size, None))
        rest = scores(net, tail, self.y[size:], self.likelihood, self.spread)
        return rise(some.join(rest), self.reference)

    @property
    def slack(self) -> float:
        """1 if candidates are retrained, and so may be beyond the margins before it; else 0."""
        return 0.0 if self.training is None else 1.0

    def may_fit(self, found: Rise) -> bool:
        """Whether a rise is within the margins, or retraining may yet bring it there."""
        return self.fits(found, share=self.slack)

    def fits(self, found: Rise, times: float = 1.0, share: float = 0.0) -> bool:
        """Whether a rise is within so many times what is allowed, and a share of `RECOVERED_*`."""
        return found.within(
            times * self.allowed_nll(found) + share * self.spread * RECOVERED_NLL,
            times * self.allowed_error + share * RECOVERED_ERROR,
        )

    def calibrate(self, net: nn.Module) -> None:
        """BatchNorm statistics re-estimated on training inputs, if that is right; in place."""
        if self.recalibrates:
            calibrate(net, take(self.training, slice(CALIBRATION)))

    def prune(self, threshold: float, masks: dict[str, Tensor]) -> Pruned:
        """The reference with only the weights of the masks, dead units removed."""
        weights = {
            name: replace(full, kept=masks[name].numpy()) if name in masks else full
            for name, full in self.weights.items()
        }
        return self.without(threshold, self.net, weights)[0]

    def without(
        self, threshold: float, net: nn.Module, weights: dict[str, Weights]
    ) -> tuple[Pruned, dict[str, Places]]:
        """A copy of `net` without the weights that are not kept, dead units removed.

        :return: it, and the positions that are left of each tensor that lost something.
        """
        net = copy.deepcopy(net)
        state = net.state_dict()
        for name, part in weights.items():
            state[name].mul_(torch.from_numpy(part.kept))
        self.calibrate(net)
        net, chosen = self.reduce(net)
        weights = {
            name: part.selected(chosen[name]) if name in chosen else part
            for name, part in weights.items()
        }
        left = sum(int(part.kept.sum()) for part in weights.values())
        return Pruned(threshold, net, weights, self.rise(net), left), chosen

    def reduce(self, net: nn.Module) -> tuple[nn.Module, dict[str, Places]]:
        """Dead units removed, if the outputs on validation inputs say that it is right.

        :return: the network, and for each tensor that lost something the positions that are left.
        """
        if not isinstance(net, GraphNetwork):
            return net, {}
        small = reduce(net)
        if not self.agree(net, small.net):
            return net, {}
        return with_channels_last(small.net), small.kept

    def agree(self, net: nn.Module, other: nn.Module) -> bool:
        """Whether two networks give the same but for rounding, on some validation inputs."""
        return agree(net, other, take(self.x, slice(EXAMPLES)))

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

    def finish(
        self, pruned: Pruned, setting: Setting, retrain: bool
    ) -> tuple[nn.Module, dict, Rise, bool]:
        """Weights on their grid, units that died of it removed, biases on coarse grids.

        :param retrain: whether survivors are retrained before they go on their grid, and codebooks
            and biases after it; needs training inputs.
        :return: the network, its `Quantised` weights and biases by name, and its rise, and
            whether that is within the margins.
        """
        codes = self.quantise(pruned, setting)
        # The posterior's own values say which weight takes which; survivors must not leave them.
        share = share_of(self, pruned)
        if retrain and setting.kind != "grid":
            pruned = retrained(self, pruned, codes, share)
            codes = self.quantise(pruned, replace(setting, rate=min(setting.rate, MATCHED_RATE)))
        net = with_weights(pruned.net, codes)
        self.calibrate(net)
        net, chosen = self.reduce(net)
        codes |= {name: select(codes[name], chosen[name]) for name in codes.keys() & chosen.keys()}
        biases = biases_of(net)
        if retrain:
            codes, biases = refine_codebooks(net, codes, biases, self.matching, share)
            net = with_weights(net, codes)
        net, coded, found = round_biases(self, net, biases)
        if setting.kind == "codebook":
            free = {name: tensor for name, tensor in codes.items() if name not in self.own}
            net, free, found = round_codebooks(self, net, free, found)
            codes |= free
        return net, codes | coded, found, self.fits(found)
