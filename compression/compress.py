"""`compress`: a trained network and its posterior to one small file, judged on validation data.

Pruning, codebook and bias grids are chosen together: among the candidates whose paired rise in
validation NLL and in error over the unpruned network of the posterior means stays within the
margins, the smallest that still is when finished: after unit removal, retraining (if there are
training inputs), biases, and encoding. Last, its hidden units are sorted if that saves bytes.
"""

import os
import warnings
from dataclasses import asdict, dataclass

from torch import nn

from ..common.datasets import Data, in_memory
from ..common.examples import Inputs, arguments, inputs_on_cpu, on_cpu
from ..common.modes import gradients
from ..common.modules import copied
from ..graph import GraphNetwork
from ..posterior import Posterior
from .archive import Archive
from .batch_norm import Chooser
from .candidates import Progress, smallest, tried
from .codec import check_coder, coder_for
from .describe import describe
from .file import decode, network, save
from .margins import MARGIN_ERROR, MARGIN_NLL
from .masks import candidates, check_posterior, masks
from .reference import check_head, check_tensors, extra_weights, latent_share, reference_of
from .report import describe_result
from .rewrites import rewrite
from .scores import check_data, check_inputs
from .search import Pruned, Trial
from .settings import MOST_EFFORT, check_options, settings_for
from .sort_units import shortest_order
from .traced import as_graph
from .verdict import WorseNetwork, given_scores, start_scores

# (times the margins, share of what retraining may make good): of the thresholds whose rise is
# within each, the most pruned is gone on with.
THRESHOLD_SLACKS = ((1.0, 1 / 7), (0.5, 0.0))


@dataclass(frozen=True)
class Compressed:
    """A compressed network.

    :param data: the file's bytes.
    :param network: the network decoded from them, on the CPU in eval mode.
    :param archive: what they say.
    :param report: how it was chosen and what is left; see `report.describe_result`.
    """

    data: bytes
    network: nn.Module
    archive: Archive
    report: dict

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, atomically."""
        save(self.data, path)


@gradients()
def compress(
    net: nn.Module,
    posterior: Posterior,
    *,
    validation: Data,
    likelihood: str = "categorical",
    threshold: float | str = "validation",
    prune: str = "weights",
    quantiser: str = "auto",
    clusters: int | str = "validation",
    margin_nll: float = MARGIN_NLL,
    margin_error: float = MARGIN_ERROR,
    coder: str | None = None,
    training: Inputs | None = None,
    given: nn.Module | None = None,
    label: str | None = None,
    effort: int = MOST_EFFORT,
    progress: Progress | None = None,
) -> Compressed:
    """Compress a network and the approximate posterior of its weights into one small file.

    Chooses what to prune and how finely to quantize on the validation data. `net` is not changed.

    :param net: the network as trained; the posterior's means replace the weights they are of.
    :param posterior: of the weights: `guide.posterior()`, or `posterior_of` for guides of Pyro.
    :param validation: inputs and labels on which everything is chosen, or a Dataset or DataLoader
        of them; never the test data. Inputs are a tensor, or a tuple or dict of tensors of as many
        examples each. A network gets a tuple as positional and a dict as named arguments where
        its `forward` takes such.
    :param likelihood: "categorical", "bernoulli" or "normal" (see `scores`).
    :param threshold: prune where log alpha is at least this; "validation" chooses it.
    :param prune: what the threshold is held against: log alpha of "weights", the scores of
        "groups" (units that share a scale), or "none": precision only.
    :param quantiser: "codebook" (fitted shared values), "stddev" (a step for each layer, from the
        posterior), "stddev-units" (one for each output unit), "grid" (the values that the
        posterior has learned), "none" (16 bits a weight: pruning only), or "auto": "codebook",
        and "grid" too if all weights have one; where only some have, these stay on theirs.
    :param clusters: values in each codebook besides zero, fitted by plain k-means; "validation"
        chooses them and how much of the likelihood to trade for bits.
    :param margin_nll: the rise in mean validation NLL over the posterior means that is allowed,
        nats. Where the rise's own standard error is larger, that is allowed, up to five margins.
        For likelihood "normal" the margin is one in units of the labels' standard deviation.
    :param margin_error: the same for the validation error, percentage points (see `scores` for
        likelihoods other than categorical). Any margin above 0 allows one wrong label.
        The report says as `allowed_nll` and `allowed_error` what both margins came to.
    :param coder: of the file: "small" (the fewest bytes), "fast" (for large networks), or
        "huffman" for the published CSR + Huffman. None: "fast" from 1,048,576 weights on.
    :param training: inputs of the training data, of the kind of those of `validation`; no labels
        are needed. With them what is left is retrained to predict as the posterior means do, and
        BatchNorm statistics may be re-estimated. Without them neither is done. A traced network
        gets the re-estimated statistics if they lower its validation NLL; they then become part
        of its layers. A network that cannot be traced keeps its BatchNorms. Each candidate then
        has its statistics re-estimated, unless that takes the posterior means beyond the margins.
    :param given: the network before its posterior was trained, which the file is compared with
        beside the posterior means; default: `net` as it is passed, with BatchNorm statistics
        re-estimated if that lowers its NLL.
    :param effort: how long the search may take, 1 to 9: 9 (default) tries every setting and
        retrains the first candidate for 2,500 updates and others for 750; e tries fewer and
        retrains for e/9 of that.
    :param label: a short name of the network to keep in the file.
    :param progress: called with a line of text now and then.
    :raises ValueError: options, data or posterior do not fit the network; the message says how.
    :warns WorseNetwork: the posterior means are clearly worse than the network given, or the file
        predicts no better than a constant. The same sentences are the report's `warnings`.

    >>> result = bitsback.compress(
    ...     model.trained(), guide.posterior(), validation=(x_val, y_val), training=x_train
    ... )
    >>> result.save("net.bb")
    >>> result.report["ratio"], result.report["rise"]
    """
    coder = check_coder(coder)
    check_options(threshold, prune, quantiser, clusters, margin_nll, margin_error, coder, effort)
    inputs, y = on_cpu(in_memory(validation, "validation"), "validation", net)
    check_tensors(net)
    check_data(inputs, y, likelihood)
    if training is not None:
        training = inputs_on_cpu(training, "training", net)
        check_inputs(training, inputs)
        training = arguments(net, training)
    say = progress or (lambda line: None)
    x = arguments(net, inputs)
    if given is None:
        before = start_scores(net, x, y, likelihood, x if training is None else training)
    else:
        before = given_scores(given, arguments(given, inputs), y, likelihood)
    original = describe(net, weights=extra_weights(net, posterior))
    origin = net.origin if isinstance(net, GraphNetwork) else None
    net, posterior = rewrite(net, posterior.cpu())
    check_posterior(posterior, net.state_dict())
    chooser = Chooser(training, x, y, likelihood)
    means, posterior, obstacle = as_graph(net, posterior, x, chooser)
    if obstacle is not None:
        say(f"no graph, so units stay and the file needs the network's class: {obstacle}")
    check_head(means, x, likelihood)
    trial = reference_of(
        means, posterior, x, y, likelihood, margin_nll, margin_error, training, effort
    )
    if obstacle is None and chooser.choice is not None:
        trial.batch_norm = chooser.choice.rise
        trial.recalibrates = chooser.choice.re_estimated
    if trial.batch_norm is not None:
        done = "re-estimated" if trial.recalibrates else "kept as trained: others were worse"
        say(f"BatchNorm statistics {done}, NLL {trial.batch_norm.nll:+.4f} if re-estimated")
    exact = trial.exact >= trial.weights.keys()
    if quantiser.startswith("stddev") and exact:
        raise ValueError(
            f"quantiser={quantiser!r} needs a posterior with standard deviations; "
            "this one's are all 0 (a Delta guide?): use quantiser='codebook'"
        )
    kinds = _quantisers(quantiser, trial)
    prunings = _prunings(trial, posterior, threshold, prune, say)
    matched = trial.matching is not None
    settings = [
        row for kind in kinds for row in settings_for(kind, clusters, exact, matched, effort)
    ]
    found = tried(trial, prunings, settings, say)
    data, archive, chosen, small = smallest(trial, found, label, coder, say)
    if (coder or coder_for(archive)) == "small":  # the others gain nothing, or take too long
        data, archive = shortest_order(data, archive, small, trial.agree)
    say(f"{len(data)} bytes")
    decoded = _decoded(data, archive, small)
    report = describe_result(trial, original, decoded, archive, data, chosen.pruned, before, origin)
    report["untraced"] = obstacle
    report["prune"], report["quantiser"] = prune, asdict(chosen.setting)
    report["latent_share"] = latent_share(net, posterior)
    report["clusters"] = max(layer["values"] for layer in report["layers"])
    for line in report["warnings"]:
        warnings.warn(line, WorseNetwork, stacklevel=3)
    return Compressed(data, decoded, archive, report)


def _quantisers(quantiser: str, trial: Trial) -> tuple[str, ...]:
    """The kinds of `Setting` to try; tells the trial which tensors never leave their own grid."""
    gridded = frozenset(k for k, w in trial.weights.items() if w.symbols is not None)
    every = gridded >= trial.weights.keys()
    if quantiser in ("auto", "grid") and not every:
        trial.own = gridded
    if quantiser == "grid" and not gridded:
        raise ValueError(
            "quantiser='grid' needs a posterior that has learned values to share "
            "(a learned codebook, say); this one has none: use quantiser='codebook'"
        )
    if quantiser == "auto":
        return ("grid", "codebook") if every else ("codebook",)
    return (quantiser,)


def _prunings(
    trial: Trial, posterior: Posterior, threshold: float | str, prune: str, say: Progress
) -> list[Pruned]:
    """The networks to quantise: of the fixed threshold, or of the first few that fit."""
    if threshold != "validation":
        return [trial.prune(float(threshold), masks(posterior, float(threshold), prune))]
    found: list[Pruned] = []
    slacks = [(times, trial.slack * share) for times, share in THRESHOLD_SLACKS]
    for candidate, kept in candidates(posterior, prune):
        pruned = trial.prune(candidate, kept)
        rise = pruned.rise
        say(
            f"threshold {candidate:g}: {pruned.kept} weights, NLL {rise.nll:+.4f} nats, "
            f"error {rise.error:+.2f} points"
        )
        missed = [slack for slack in slacks if not trial.fits(rise, *slack)]
        if len(missed) < len(slacks):
            found.append(pruned)
            slacks = missed
        if not slacks:
            break
    return found or [pruned]  # nothing pruned at all is the last candidate


def _decoded(data: bytes, archive: Archive, small: nn.Module) -> nn.Module:
    """The network of the bytes, after a check that they say what was encoded."""
    again = decode(data)
    same = again.architecture.to_bytes() == archive.architecture.to_bytes() and all(
        _equal(again.tensors[name], tensor) for name, tensor in archive.tensors.items()
    )
    if not same:
        raise RuntimeError("the encoded bytes decode to another network; please report this")
    needed = not isinstance(small, GraphNetwork) and archive.architecture.root is None
    into = copied(small) if needed else None
    return network(again, into)


def _equal(a: object, b: object) -> bool:
    """Whether two tensors of archives are the same, NaNs included."""
    return a.tobytes() == b.tobytes() if hasattr(a, "tobytes") else a == b
