"""`shrink`: a trained network to one small file, from a few hundred inputs and no labels.

The layers are put on integers one after the other, each following what the original computes
(sequential.py), at a price of a bit (rate_distortion.py) that is the highest at which the network
still predicts well enough (judge.py), or that gives the size asked for.
"""

import math

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, passed, take
from ..common.modes import gradients
from ..common.modules import copied, float32_if_less
from ..graph import GraphNetwork
from ..posterior import Posterior
from .candidates import Progress
from .class_axis import class_axis
from .codec import check_coder
from .compress import Compressed
from .describe import describe
from .expected_price import price_by_expectation
from .file import decode
from .judge import Judge, likelihood_of, split_off
from .one_output import OneOutput
from .price_search import boundary
from .reference import check_tensors
from .shrink_inputs import check_calibration, check_options, check_validation
from .shrink_report import describe_shrunk
from .shrink_work import Trial, Work
from .traced import as_graph
from .within_drop import in_points, within_drop

MAX_DROP = 0.5  # percentage points
# About how much the logarithms of the rise in error, and of 1 / the size, rise with that of the
# price. The search needs no more than a guess.
ERROR_SLOPE, SIZE_SLOPE = 1.5, 0.2
NEAR_SIZE = 0.01  # of the size asked for: files that are smaller by less are good enough
CLOSE_PRICES = 1.01  # ratio of prices at which the search for a size ends without such a file


@gradients()
def shrink(
    net: nn.Module,
    calibration: Inputs | None,
    *,
    validation: tuple[Inputs, Tensor | None] | Tensor | dict[str, Tensor] | None = None,
    max_drop: float = MAX_DROP,
    target_bytes: int | None = None,
    likelihood: str | None = None,
    seed: int = 0,
    label: str | None = None,
    coder: str | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Compress a trained network without training. `net` is not changed.

    :param net: the network as trained. Of one that cannot be traced, each layer is quantized by
        itself, and its file loads into its own class; the report says so (`untraced`).
    :param calibration: a few hundred inputs without labels, shape (n, ...). A network of several
        inputs takes a tuple or dict of tensors of as many examples each. None: the weights are
        rounded with a dead zone, every weight alike but for the size of its tensor's weights.
    :param validation: a pair of inputs and labels by which `max_drop` is judged, or inputs alone
        (in a pair with None for labels if they are a tuple): the drop is then the disagreement
        with the original's predictions. None: a fifth of the calibration inputs, which are held
        out, and disagreement.
    :param max_drop: the rise in error that is allowed, percentage points; any margin above 0
        allows one example. For networks that are no classifiers: the squared error in percent of
        the variance of the labels, or of the original's outputs.
    :param target_bytes: the most bytes that the file may have. `max_drop` is then only reported.
    :param likelihood: "categorical" (logits), "bernoulli" (logits) or "normal". None: categorical
        for whole labels, for one output of shape (n, classes), and for one of shape
        (n, steps, classes) if inputs are whole numbers of shape (n, steps); else normal.
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
    coder = check_coder(coder)
    check_tensors(net)
    x = None if calibration is None else check_calibration(calibration, net)
    x_val, y_val = check_validation(validation, x, net)
    original = describe(net, label)
    origin = net.origin if isinstance(net, GraphNetwork) else None
    say = progress or (lambda line: None)
    whole, obstacle = _traced(net, x if x is not None else x_val)
    if obstacle is not None:
        say(f"no graph, so every layer is quantized by itself: {obstacle}")
    if x_val is None and x is not None and target_bytes is None:
        x, x_val = split_off(x, seed)
    inputs = x if x is not None else x_val
    if likelihood is None:
        likelihood = "normal" if inputs is None else likelihood_of(whole, inputs, y_val)
    judge = None
    if x_val is not None:
        # The network as it was given, so that a fault of its graph would be seen as a drop.
        given = float32_if_less(copied(net)).cpu().eval()
        judge = Judge(given, x_val, y_val, likelihood, max_drop)
    axis = judge.axis if judge is not None else _axis(whole, inputs, likelihood)
    work = Work(whole, x, likelihood, axis, seed, label, judge, coder)
    trial = _chosen(work, target_bytes, say)
    data, decoded, rise = work.finish(trial, copied(net))
    say(f"{len(data)} bytes")
    judged = None if judge is None else judge.report(rise)
    report = describe_shrunk(
        data, original, origin, work.count, trial.rate, work.description(), obstacle, judged
    )
    return Compressed(data, decoded, decode(data), report)


def _axis(net: nn.Module, x: Inputs | None, likelihood: str) -> int:
    """That of the classes in a network's outputs."""
    if likelihood != "categorical" or x is None:
        return -1
    some = take(x, slice(2))
    with torch.no_grad():
        return class_axis(passed(OneOutput(net), some), some, None)


def _traced(net: nn.Module, x: Inputs | None) -> tuple[nn.Module, str | None]:
    """The network as a graph, BatchNorms folded, on the CPU; and why there is none."""
    plain = float32_if_less(copied(net)).cpu().eval().requires_grad_(False)
    if isinstance(plain, GraphNetwork):
        return plain, None
    if x is None:
        return plain, "there are no inputs to trace it with"
    graph, _, obstacle = as_graph(plain, Posterior({}), x)
    return graph.requires_grad_(False), obstacle


def _chosen(work: Work, target_bytes: int | None, say: Progress) -> Trial:
    """The trial of the right price.

    :raises DropExceeded: none is within `max_drop`.
    :raises ValueError: none has `target_bytes`.
    """
    start = work.first_rate()
    if target_bytes is None and work.judge is None:
        return work.trial(start)
    if target_bytes is not None:
        return _of_size(work, target_bytes, start, say)
    trials: dict[float, Trial] = {}

    def judged(rate: float) -> Trial:
        if rate not in trials:
            trials[rate] = found = work.judged(work.trial(rate))
            say(f"price {rate:.3g} nats a bit: error {in_points(found.rise)}")
        return trials[rate]

    if work.judge.expected is not None and work.judge.allowed > 0:
        price = price_by_expectation(judged, trials, work.judge.allowed, start)
    else:
        price, _ = boundary(lambda rate: work.judge.excess(judged(rate).rise), start, ERROR_SLOPE)
    return within_drop(work.judge, trials, judged, price or min(trials))


def _of_size(work: Work, target_bytes: int, start: float, say: Progress) -> Trial:
    """The trial of the lowest price whose file has `target_bytes`.

    :raises ValueError: none has.
    """
    ends: dict[bool, tuple[int, Trial]] = {}

    def excess(rate: float) -> float:
        trial = work.trial(rate)
        size = work.size(trial, target_bytes)
        say(f"price {rate:.3g} nats a bit: {size} bytes")
        ends[size <= target_bytes] = size, trial
        aim = target_bytes * math.exp(-NEAR_SIZE / 2 if size <= target_bytes else -NEAR_SIZE)
        return math.log(aim / size)

    boundary(excess, start, SIZE_SLOPE, NEAR_SIZE / 2, CLOSE_PRICES)
    if True in ends:
        return ends[True][1]
    raise ValueError(
        f"no file has at most {target_bytes} bytes: the smallest found has {ends[False][0]}"
    )
