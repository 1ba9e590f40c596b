"""`compress`: a trained network and its posterior to one small file, judged on validation data.

Pruning, codebook and bias grids are chosen together: among the candidates whose paired rise in
validation NLL and in error over the unpruned network of the posterior means stays within the
margins, the smallest that still is when finished: after unit removal, retraining (if there are
training inputs), biases, and encoding. Last, its hidden units are sorted if that saves bytes.
"""

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from ..common.examples import on_cpu
from ..common.modes import gradients
from ..common.modules import copied
from ..posterior import Posterior
from .architecture import describe
from .archive import Archive
from .file import decode, encode, network, save
from .masks import PRUNE, candidates, masks
from .order import by_density
from .reference import check_tensors, extra_weights, latent_share, reference_of
from .report import describe_result
from .rewrites import rewrite
from .scores import Rise, check_data
from .search import Pruned, Trial
from .settings import Setting, settings_for

QUANTISERS = ("auto", "codebook", "stddev", "stddev-units", "grid", "none")
MARGIN_NLL = 0.003  # nats: the less noisy of the two, so the tighter
MARGIN_ERROR = 0.2  # percentage points
# (times the margins, share of what retraining may make good): of the thresholds whose rise is
# within each, the most pruned is gone on with.
THRESHOLD_SLACKS = ((1.0, 1 / 7), (0.5, 0.0))
APART = 1.03  # in estimated size: nearer candidates are not worth finishing both

Progress = Callable[[str], None]


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

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, atomically."""
        save(self.data, path)


@dataclass(frozen=True)
class _Candidate:
    """A pruning and a quantisation of it, its size and its rise before any retraining."""

    bits: float
    pruned: Pruned
    setting: Setting
    rise: Rise


@gradients()
def compress(
    net: nn.Module,
    posterior: Posterior,
    *,
    validation: tuple[Tensor, Tensor],
    likelihood: str = "categorical",
    threshold: float | str = "validation",
    prune: str = "weights",
    quantiser: str = "auto",
    clusters: int | str = "validation",
    margin_nll: float = MARGIN_NLL,
    margin_error: float = MARGIN_ERROR,
    coder: str = "range",
    training: Tensor | None = None,
    label: str | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Compress a trained network to a file's bytes. `net` is not changed.

    :param net: the trained network; the posterior's means replace the weights they are of.
    :param validation: inputs and labels on which everything is chosen; never the test data.
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
    :param margin_nll: the rise in mean validation NLL that is allowed, nats.
    :param margin_error: the rise in validation error that is allowed, percentage points (see
        `scores` for likelihoods other than categorical).
    :param coder: "range", or "huffman" for the published CSR + Huffman.
    :param training: inputs of the training data; no labels are needed. With them what is left
        is retrained to predict as `net` does, and BatchNorm statistics are re-estimated; without
        them neither is.
    :param label: a short name of the network to keep in the file.
    :param progress: called with a line of text now and then.
    :raises ValueError: options, data or posterior do not fit the network; the message says how.
    """
    _check_options(threshold, prune, quantiser, clusters, margin_nll, margin_error, coder)
    x, y = on_cpu(validation, "validation", net)
    check_tensors(net)
    check_data(x, y, likelihood)
    say = progress or (lambda line: None)
    original = describe(net, weights=extra_weights(net, posterior))
    net, posterior = rewrite(net, posterior.cpu())
    trial = reference_of(net, posterior, x, y, likelihood, margin_nll, margin_error, training)
    exact = trial.exact >= trial.weights.keys()
    if quantiser.startswith("stddev") and exact:
        raise ValueError(
            f"quantiser={quantiser!r} needs a posterior with standard deviations; "
            "this one's are all 0 (a Delta guide?): use quantiser='codebook'"
        )
    kinds = _quantisers(quantiser, trial)
    prunings = _prunings(trial, posterior, threshold, prune, say)
    matched = trial.matching is not None
    settings = [row for kind in kinds for row in settings_for(kind, clusters, exact, matched)]
    found = _search(trial, prunings, settings, say)
    data, archive, chosen = _smallest(trial, found, label, coder)
    if coder == "range":  # the published one is for comparison, and stays as published
        data, archive = _shortest_order(trial, data, archive)
    say(f"{len(data)} bytes")
    decoded = _decoded(data, archive, net)
    report = describe_result(trial, original, decoded, archive, data, chosen.pruned)
    report["prune"], report["quantiser"] = prune, asdict(chosen.setting)
    report["latent_share"] = latent_share(net, posterior)
    report["clusters"] = max(layer["values"] for layer in report["layers"])
    return Compressed(data, decoded, archive, report)


def _check_options(
    threshold: float | str,
    prune: str,
    quantiser: str,
    clusters: int | str,
    margin_nll: float,
    margin_error: float,
    coder: str,
) -> None:
    """Raise ValueError for options that make no sense."""
    for option, value, known in (("quantiser", quantiser, QUANTISERS), ("prune", prune, PRUNE)):
        if value not in known:
            raise ValueError(f"unknown {option} {value!r}; known: {', '.join(known)}")
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if threshold != "validation" and (not number or math.isnan(threshold)):
        raise ValueError(f"threshold must be 'validation' or a number, not {threshold!r}")
    if clusters != "validation" and (type(clusters) is not int or not 1 <= clusters <= 4096):
        raise ValueError(f"clusters must be 'validation' or within 1..4096, not {clusters!r}")
    if quantiser == "stddev-units" and coder == "huffman":
        raise ValueError("the published coder has no steps of units: use coder='range'")
    for name, margin in (("margin_nll", margin_nll), ("margin_error", margin_error)):
        if not margin >= 0:
            raise ValueError(f"{name} must be a number >= 0, not {margin!r}")


def _quantisers(quantiser: str, trial: Trial) -> tuple[str, ...]:
    """The kinds of `Setting` to try; tells the trial which tensors never leave their own grid."""
    gridded = frozenset(k for k, w in trial.weights.items() if w.symbols is not None)
    every = gridded >= trial.weights.keys()
    if quantiser in ("auto", "grid") and not every:
        trial.own = gridded
    if quantiser == "grid" and not gridded:
        raise ValueError(
            "quantiser='grid' needs a posterior that has learned values to share "
            "(soft-sharing, say); this one has none: use quantiser='codebook'"
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


def _search(
    trial: Trial, prunings: list[Pruned], settings: list[list[Setting]], say: Progress
) -> list[_Candidate]:
    """By rising size, candidates that may fit; else the one of the least rise in NLL."""
    found: list[_Candidate] = []
    for pruned in prunings:
        for bits, setting, rise in trial.search(pruned, settings):
            found.append(_Candidate(bits, pruned, setting, rise))
            say(f"about {bits / 8:.0f} bytes, NLL {rise.nll:+.4f}, error {rise.error:+.2f}")
    fitting = [candidate for candidate in found if trial.may_fit(candidate.rise)]
    return _apart(_undominated(fitting)) or [min(found, key=lambda c: c.rise.nll)]


def _undominated(candidates: list[_Candidate]) -> list[_Candidate]:
    """By rising size, the candidates whose NLL is lower than that of all smaller ones."""
    result: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.bits, c.rise.nll)):
        if not result or candidate.rise.nll < result[-1].rise.nll:
            result.append(candidate)
    return result


def _apart(candidates: list[_Candidate]) -> list[_Candidate]:
    """Of candidates by rising size, those that differ by enough to be worth finishing."""
    result: list[_Candidate] = []
    for candidate in candidates:
        if not result or candidate.bits > APART * result[-1].bits:
            result.append(candidate)
    return result


def _smallest(
    trial: Trial, found: list[_Candidate], label: str | None, coder: str
) -> tuple[bytes, Archive, _Candidate]:
    """The candidate whose file is smallest, biases and all; one within the margins if any is."""
    best, first, last = None, 0, len(found) - 1
    while first <= last:  # by bisection, as finishing takes seconds and the rise falls with size
        middle = (first + last) // 2
        candidate = found[middle]
        small, codes, rise, fits = trial.finish(candidate.pruned, candidate.setting)
        first, last = (first, middle - 1) if fits else (middle + 1, last)
        if best is not None and (best[-1] > fits or (not fits and rise.nll >= best[3].nll)):
            continue
        archive = _archive(small, codes, label, trial)
        data = encode(archive, coder)
        if best is None or not best[-1] or len(data) < len(best[0]):
            best = data, archive, candidate, rise, fits
    return best[:3]


def _shortest_order(trial: Trial, data: bytes, archive: Archive) -> tuple[bytes, Archive]:
    """The file with its hidden units in the order that makes it smallest, and its archive."""
    best = data, archive
    for other in by_density(archive):
        again = encode(other)
        if len(again) < len(best[0]) and trial.agree(network(archive), network(other)):
            best = again, other
    return best


def _archive(net: nn.Module, codes: dict, label: str | None, trial: Trial) -> Archive:
    """The archive of a network with quantised tensors."""
    architecture = describe(net, label, [n for n in trial.weights if n in codes])
    state = net.state_dict()
    tensors = {
        spec.name: codes.get(spec.name, state[spec.name].numpy()) for spec in architecture.tensors()
    }
    return Archive(architecture, tensors)


def _decoded(data: bytes, archive: Archive, net: nn.Module) -> nn.Module:
    """The network of the bytes, after a check that they say what was encoded."""
    again = decode(data)
    same = again.architecture == archive.architecture and all(
        _equal(again.tensors[name], tensor) for name, tensor in archive.tensors.items()
    )
    if not same:
        raise RuntimeError("the encoded bytes decode to another network; please report this")
    into = copied(net).cpu() if archive.architecture.root is None else None
    return network(again, into)


def _equal(a: object, b: object) -> bool:
    """Whether two tensors of archives are the same, NaNs included."""
    return a.tobytes() == b.tobytes() if hasattr(a, "tobytes") else a == b
