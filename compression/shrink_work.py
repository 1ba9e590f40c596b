"""The work of `shrink`: integers at a price of a bit, their judgement, and the file of them."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ..common.examples import Inputs, count, take
from ..graph import GraphNetwork
from .archive import Archive, Quantised
from .codec import coder_for
from .describe import describe
from .end_to_end import EndToEnd
from .expected_rise import JudgedRise
from .file import decode, encode, network
from .hooked import Hooked
from .judge import Judge
from .quantise import select
from .reduce import reduce
from .rounding import biases_of, with_weights
from .sequential import Calibrated, round_vectors, without_inputs
from .sort_units import shortest_order
from .traced import EXAMPLES, agree
from .uniform import rounded

FIRST_LOSS = 0.004  # nats a prediction that the first price to try is right for
NEAR = 1.6  # ratio of sizes: removing and sorting units seldom saves more
MOST_SORTED = 1 << 21  # weights of a network whose units are sorted: each order codes them all


@dataclass(frozen=True)
class Trial:
    """The integers at a price of a bit, and the rise in error once it has been judged."""

    rate: float
    codes: dict[str, Quantised]
    rise: JudgedRise | None = None


def _matrices(net: nn.Module) -> list[str]:
    """Of a network without a graph, the parameters of at least two axes of any kind of layer."""
    if isinstance(net, GraphNetwork):
        return []
    own = {name for name, p in net.named_parameters(remove_duplicate=False) if p.dim() > 1}
    raw = {spec.name for spec in describe(net).tensors() if spec.role == "raw"}
    return sorted(own & raw)


@dataclass
class Work:
    """A network and all that stays the same at any price of a bit.

    :param net: the network, a graph if it could be traced.
    :param x: calibration inputs, as `common.examples.arguments` gives them, or None.
    :param likelihood: see `sensitivity.sensitivities`, like `axis` and `seed`.
    :param label: a short name of the network to keep in the file.
    :param coder: see `codec.encode`.
    """

    net: nn.Module
    x: Inputs | None
    likelihood: str
    axis: int
    seed: int
    label: str | None
    judge: Judge | None
    coder: str | None = None
    calibrated: Calibrated | Hooked | None = field(init=False, default=None)
    end_to_end: EndToEnd | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        specs = describe(self.net, weights=_matrices(self.net)).tensors()
        self.weights = [spec.name for spec in specs if spec.role == "weight"]
        self.vectors = [spec.name for spec in specs if spec.role == "bias"]
        if not self.weights:
            raise ValueError("the network has no matrix or kernel to compress")
        state = self.net.state_dict()
        for name in [*self.weights, *self.vectors]:
            if not state[name].isfinite().all():
                raise ValueError(f"{name!r} holds NaN or infinity: give the network as trained")
        self.count = sum(state[name].numel() for name in self.weights)
        if self.x is not None:
            kind = Calibrated if isinstance(self.net, GraphNetwork) else Hooked
            found = self.weights, self.vectors, self.likelihood, self.axis, self.seed
            self.calibrated = kind(self.net, self.x, *found)
        if isinstance(self.calibrated, Calibrated):
            free = [name for name in self.weights if name not in self.calibrated.blind]
            self.end_to_end = EndToEnd(self.net, self.x, free, *found[1:4])

    def first_rate(self) -> float:
        """The price to begin with: see `rate_distortion.step_for`, summed over all weights."""
        predictions = 1 if self.judge is None else self.judge.y.numel() / len(self.judge.y)
        return 2 * math.log(2) * FIRST_LOSS * predictions / self.count

    def trial(self, rate: float) -> Trial:
        """The integers at a price, not judged yet."""
        if self.calibrated is not None:
            codes = self.calibrated.quantised(rate)
            if self.end_to_end is not None:
                codes = self.end_to_end.descended(codes)
            return Trial(rate, codes)
        state = self.net.state_dict()
        codes = round_vectors(state, self.vectors)
        codes |= without_inputs({name: state[name] for name in self.weights}, rate)
        return Trial(rate, codes)

    def judged(self, trial: Trial) -> Trial:
        """The trial with its rise in error, no better known than it takes if it does not fit."""
        return replace(trial, rise=self.judge.glance(with_weights(self.net, trial.codes)))

    def encoded(self, net: nn.Module, codes: dict[str, Quantised]) -> tuple[bytes, Archive]:
        weights = [name for name in self.weights if name in codes]
        architecture, state = describe(net, self.label, weights), net.state_dict()
        tensors = {
            spec.name: codes.get(spec.name, state[spec.name].numpy())
            for spec in architecture.tensors()
        }
        archive = Archive(architecture, tensors)
        return encode(archive, self.coder), archive

    def size(self, trial: Trial, wanted: int) -> int:
        """Bytes of the trial's file as `finish` leaves it if it is `NEAR` the size wanted.

        Else of the file with its dead units, in the order that they have, which takes less time.
        """
        net = with_weights(self.net, trial.codes)
        size = len(self.encoded(net, trial.codes)[0])
        if not isinstance(net, GraphNetwork) or not 1 / NEAR < size / wanted < NEAR:
            return size
        return len(self._in_order(*(self._reduced(net, trial) or (net, trial.codes)))[0])

    def finish(self, trial: Trial, own: nn.Module) -> tuple[bytes, nn.Module, JudgedRise | None]:
        """The file of a trial without its dead units, the network in it, and its rise in error.

        Dead units stay where the file without them is not within what a judged trial is within.

        :param own: a copy of the network as given, for files that need its class.
        """
        net = with_weights(self.net, trial.codes)
        if isinstance(net, GraphNetwork):
            found = self._reduced(net, trial)
            if found is not None:
                done = self._judged(*self._in_order(*found))
                if trial.rise is None or self.judge.fits(done[2]):
                    return done
            return self._judged(*self._in_order(net, trial.codes))
        data, archive = self.encoded(net, trial.codes)
        return self._judged(data, own if archive.architecture.root is None else None)

    def _judged(
        self, data: bytes, own: nn.Module | None
    ) -> tuple[bytes, nn.Module, JudgedRise | None]:
        decoded = network(decode(data), own)
        return data, decoded, self.judge and self.judge.rise(decoded)

    def _in_order(self, net: GraphNetwork, codes: dict[str, Quantised]) -> tuple[bytes, None]:
        """The smallest file of a network: its units are sorted, unless that takes too long."""
        data, archive = self.encoded(net, codes)
        small = (self.coder or coder_for(archive)) == "small"
        if small and self.count <= MOST_SORTED:
            data, _ = shortest_order(data, archive, net, self._agree)
        return data, None

    def _agree(self, net: nn.Module, other: nn.Module) -> bool:
        some = self.x if self.x is not None else self.judge and self.judge.x
        return some is not None and agree(net, other, take(some, slice(EXAMPLES)))

    def _reduced(
        self, net: GraphNetwork, trial: Trial
    ) -> tuple[GraphNetwork, dict[str, Quantised]] | None:
        """The network without its dead units; None where it then gives other outputs."""
        found = reduce(net)
        if not self._agree(net, found.net):
            return None
        state = found.net.state_dict()
        codes = {name: trial.codes[name] for name in self.weights if name in state}
        codes |= {n: select(codes[n], found.kept[n]) for n in codes.keys() & found.kept.keys()}
        codes |= {name: self._bias(trial, name, v) for name, v in biases_of(found.net).items()}
        return with_weights(found.net, codes), codes

    def _bias(self, trial: Trial, name: str, values: np.ndarray) -> Quantised:
        """A bias of the reduced network on the step that it had, of shifts that it has taken in."""
        had = trial.codes.get(name)
        if had is None or not had.codes.any():
            return round_vectors({name: torch.from_numpy(values)}, [name])[name]
        return rounded(values, had.grid.step)

    def description(self) -> dict:
        """What was done with which inputs, for the report."""
        found = self.calibrated
        return {
            "examples": 0 if self.x is None else count(self.x),
            "held_out": 0 if self.judge is None else len(self.judge.y),
            "likelihood": self.likelihood,
            "seed": self.seed,
            "without_inputs": self.weights if found is None else found.blind,
            "before_all_layers": [] if found is None else list(found.moments),
        }
