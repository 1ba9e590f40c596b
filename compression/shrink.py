"""`shrink`: a trained network to one small file, from a few hundred inputs and no labels.

The layers are put on integers one after the other, each following what the original computes
(sequential.py), at a price of a bit (rate_distortion.py) that is the highest at which the network
still predicts well enough (judge.py), or that gives the size asked for.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..common.modes import gradients
from ..common.modules import copied, float32_if_less
from ..graph import GraphNetwork
from ..posterior import Posterior
from .archive import Archive, Quantised
from .candidates import Progress
from .codec import check_coder
from .compress import Compressed
from .describe import describe
from .errors import DropExceeded
from .file import decode, encode, network
from .judge import Judge, likelihood_of, split_off
from .price_search import boundary
from .quantise import select
from .reduce import reduce
from .reference import check_tensors
from .rounding import biases_of, with_weights
from .scores import Rise
from .sequential import Calibrated, round_vectors, without_inputs
from .shrink_inputs import check_calibration, check_options, check_validation
from .shrink_report import describe_shrunk
from .sort_units import by_density
from .traced import EXAMPLES, agree, as_graph
from .uniform import rounded

FIRST_LOSS = 0.004  # nats in all that the first price to try is right for
MAX_DROP = 0.5  # percentage points


@gradients()
def shrink(
    net: nn.Module,
    calibration: Tensor | None,
    *,
    validation: tuple[Tensor, Tensor] | Tensor | None = None,
    max_drop: float = MAX_DROP,
    target_bytes: int | None = None,
    likelihood: str | None = None,
    seed: int = 0,
    label: str | None = None,
    coder: str | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Compress a trained network without training. `net` is not changed.

    :param net: the network as trained. One that cannot be traced is quantized without regard to
        inputs, and its file loads into its own class; the report says so (`untraced`).
    :param calibration: inputs without labels, shape (n, ...): a few hundred. None: the weights are
        rounded with a dead zone, every weight alike but for the size of its tensor's weights.
    :param validation: inputs and labels by which `max_drop` is judged, or inputs alone: the
        drop is then the disagreement with the original's predictions. None: a fifth of the
        calibration inputs, which are held out, and disagreement.
    :param max_drop: the rise in error that is allowed, percentage points; any margin above 0
        allows one example. For networks that are no classifiers: the squared error in percent of
        the variance of the labels, or of the original's outputs.
    :param target_bytes: the most bytes that the file may have. `max_drop` is then only reported.
    :param likelihood: "categorical" (logits), "bernoulli" (logits) or "normal". None: categorical
        for one output of shape (n, classes), or whole labels; else normal.
    :param seed: of the inputs held out and of the draws that weigh the layers.
    :param label: a short name of the network to keep in the file.
    :param coder: "small", "fast" or "huffman", as of `compress`. None: by the number of weights.
    :param progress: called with a line of text now and then.
    :returns: the file's bytes, the network decoded from them, and the report: see
        `shrink_report.describe_shrunk`.
    :raises ValueError: options or data do not fit the network, or no file has `target_bytes`.
    :raises DropExceeded: no file is within `max_drop`; the message says what was nearest.

    >>> small = bitsback.shrink(net, x[:500], validation=(x_val, y_val), max_drop=0.5)
    >>> small.save("net.bb")
    """
    check_options(max_drop, target_bytes, likelihood)
    check_coder(coder)
    check_tensors(net)
    x = None if calibration is None else check_calibration(calibration, net)
    x_val, y_val = check_validation(validation, x, net)
    original = describe(net, label)
    origin = net.origin if isinstance(net, GraphNetwork) else None
    say = progress or (lambda line: None)
    whole, obstacle = _traced(net, x if x is not None else x_val)
    if obstacle is not None:
        say(f"no graph, so every weight is rounded by itself: {obstacle}")
    if x_val is None and x is not None and target_bytes is None:
        x, x_val = split_off(x, seed)
    inputs = x if x is not None else x_val
    if likelihood is None:
        likelihood = "normal" if inputs is None else likelihood_of(whole, inputs, y_val)
    # The network as it was given, so that a fault of its graph would be seen as a drop.
    given = float32_if_less(copied(net)).cpu().eval()
    judge = None if x_val is None else Judge(given, x_val, y_val, likelihood, max_drop)
    work = _Work(whole, x, likelihood, seed, label, judge, coder)
    trial = _chosen(work, target_bytes, say)
    data, decoded = work.finish(trial, copied(net))
    say(f"{len(data)} bytes")
    judged = None if judge is None else judge.report(judge.rise(decoded))
    report = describe_shrunk(
        data, original, origin, work.count, trial.rate, work.description(), obstacle, judged
    )
    return Compressed(data, decoded, decode(data), report)


def _traced(net: nn.Module, x: Tensor | None) -> tuple[nn.Module, str | None]:
    """The network as a graph, BatchNorms folded, on the CPU; and why there is none."""
    plain = float32_if_less(copied(net)).cpu().eval().requires_grad_(False)
    if isinstance(plain, GraphNetwork):
        return plain, None
    if x is None:
        return plain, "there are no inputs to trace it with"
    graph, _, obstacle = as_graph(plain, Posterior({}), x)
    return graph.requires_grad_(False), obstacle


@dataclass(frozen=True)
class _Trial:
    """The integers at a price of a bit, and the rise in error if there is a judge."""

    rate: float
    codes: dict[str, Quantised]
    rise: Rise | None


@dataclass
class _Work:
    """A network and all that stays the same at any price of a bit.

    :param net: the network, a graph if it could be traced.
    :param x: calibration inputs, or None.
    """

    net: nn.Module
    x: Tensor | None
    likelihood: str
    seed: int
    label: str | None
    judge: Judge | None
    coder: str | None = None
    calibrated: Calibrated | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        specs = describe(self.net).tensors()
        self.weights = [spec.name for spec in specs if spec.role == "weight"]
        self.vectors = [spec.name for spec in specs if spec.role == "bias"]
        if not self.weights:
            raise ValueError("the network has no matrix or kernel to compress")
        state = self.net.state_dict()
        for name in [*self.weights, *self.vectors]:
            if not state[name].isfinite().all():
                raise ValueError(f"{name!r} holds NaN or infinity: give the network as trained")
        self.count = sum(state[name].numel() for name in self.weights)
        if self.x is not None and isinstance(self.net, GraphNetwork):
            self.calibrated = Calibrated(
                self.net, self.x, self.weights, self.vectors, self.likelihood, self.seed
            )

    def first_rate(self) -> float:
        """The price to begin with: see `rate_distortion.step_for`, summed over all weights."""
        return 2 * math.log(2) * FIRST_LOSS / self.count

    def trial(self, rate: float) -> _Trial:
        if self.calibrated is not None:
            codes = self.calibrated.quantised(rate)
        else:
            state = self.net.state_dict()
            codes = round_vectors(state, self.vectors)
            codes |= without_inputs({name: state[name] for name in self.weights}, rate)
        judge = self.judge
        return _Trial(rate, codes, judge and judge.rise(with_weights(self.net, codes)))

    def encoded(self, net: nn.Module, codes: dict[str, Quantised]) -> tuple[bytes, Archive]:
        weights = [name for name in self.weights if name in codes]
        architecture, state = describe(net, self.label, weights), net.state_dict()
        tensors = {
            spec.name: codes.get(spec.name, state[spec.name].numpy())
            for spec in architecture.tensors()
        }
        archive = Archive(architecture, tensors)
        return encode(archive, self.coder), archive

    def finish(self, trial: _Trial, own: nn.Module) -> tuple[bytes, nn.Module]:
        """The file of a trial without its dead units, and the network in it.

        :param own: a copy of the network as given, for files that need its class.
        """
        net = with_weights(self.net, trial.codes)
        if not isinstance(net, GraphNetwork):
            data, archive = self.encoded(net, trial.codes)
            into = own if archive.architecture.root is None else None
            return data, network(decode(data), into)
        small, codes = self._reduced(net, trial)
        data, archive = self.encoded(small, codes)
        for other in by_density(archive, small):
            again = encode(other, self.coder)
            if len(again) < len(data):
                data = again
        return data, network(decode(data))

    def _reduced(
        self, net: GraphNetwork, trial: _Trial
    ) -> tuple[GraphNetwork, dict[str, Quantised]]:
        """Dead units removed, unless that takes the rise in error beyond what is allowed."""
        found = reduce(net)
        some = self.x if self.x is not None else self.judge and self.judge.x
        if some is None or not agree(net, found.net, some[:EXAMPLES]):
            return net, trial.codes
        state = found.net.state_dict()
        codes = {name: trial.codes[name] for name in self.weights if name in state}
        codes |= {n: select(codes[n], found.kept[n]) for n in codes.keys() & found.kept.keys()}
        codes |= {name: self._bias(trial, name, v) for name, v in biases_of(found.net).items()}
        small = with_weights(found.net, codes)
        judge = self.judge
        worse = judge and judge.fits(trial.rise) and not judge.fits(judge.rise(small))
        return (net, trial.codes) if worse else (small, codes)

    def _bias(self, trial: _Trial, name: str, values: np.ndarray) -> Quantised:
        """A bias of the reduced network on the step that it had, of shifts that it has taken in."""
        had = trial.codes.get(name)
        if had is None or not had.codes.any():
            return round_vectors({name: torch.from_numpy(values)}, [name])[name]
        return rounded(values, had.grid.step)

    def description(self) -> dict:
        """What was done with which inputs, for the report."""
        found = self.calibrated
        return {
            "examples": 0 if self.x is None else len(self.x),
            "held_out": 0 if self.judge is None else len(self.judge.x),
            "likelihood": self.likelihood,
            "seed": self.seed,
            "without_inputs": self.weights if found is None else found.blind,
            "before_all_layers": [] if found is None else list(found.moments),
        }


def _chosen(work: _Work, target_bytes: int | None, say: Progress) -> _Trial:
    """The trial of the right price.

    :raises DropExceeded: none is within `max_drop`.
    :raises ValueError: none has `target_bytes`.
    """
    start = work.first_rate()
    if target_bytes is None and work.judge is None:
        return work.trial(start)
    ends: dict[bool, _Trial] = {}  # the last trial on either side of the boundary
    sizes: dict[bool, int] = {}

    def holds(rate: float) -> bool:
        trial = work.trial(rate)
        parts = [f"price {rate:.3g} nats a bit"]
        if trial.rise is not None:
            parts.append(f"error {trial.rise.error:+.2f} points")
        if target_bytes is None:
            found = work.judge.fits(trial.rise)
        else:
            size = len(work.encoded(with_weights(work.net, trial.codes), trial.codes)[0])
            parts.append(f"{size} bytes")
            found = size > target_bytes
            sizes[found] = size
        say(": ".join([parts[0], ", ".join(parts[1:])]))
        ends[found] = trial
        return found

    boundary(holds, start)
    wanted = target_bytes is None
    if wanted in ends:
        return ends[wanted]
    if target_bytes is None:
        rise = ends[False].rise
        raise DropExceeded(
            f"no file is within max_drop={work.judge.max_drop:g}: the finest found has a rise in "
            f"error of {rise.error:.2f} ± {rise.error_stderr:.2f} points; allow as much"
        )
    raise ValueError(
        f"no file has at most {target_bytes} bytes: the smallest found has {sizes[True]}"
    )
