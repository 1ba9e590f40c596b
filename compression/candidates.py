"""Candidates of a search: which are worth finishing, and which finished one is the smallest."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..common.durations import duration
from .archive import Archive
from .describe import describe
from .file import encode
from .scores import Rise
from .search import Pruned, Trial
from .settings import Setting

APART = 1.03  # in estimated size: nearer candidates are not worth finishing both

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """A pruning and a quantisation of it, its size and its rise before any retraining."""

    bits: float
    pruned: Pruned
    setting: Setting
    rise: Rise


def tried(
    trial: Trial, prunings: list[Pruned], settings: list[list[Setting]], say: Progress
) -> list[Candidate]:
    """Every pruning with every setting that was worth trying, none of them retrained."""
    found: list[Candidate] = []
    for pruned in prunings:
        for bits, setting, rise in trial.search(pruned, settings):
            found.append(Candidate(bits, pruned, setting, rise))
            say(f"about {bits / 8:.0f} bytes, NLL {rise.nll:+.4f}, error {rise.error:+.2f}")
    return found


def _ladder(candidates: list[Candidate], fits: Callable[[Rise], bool]) -> list[Candidate]:
    """By rising size, those of the candidates that fit and are worth finishing."""
    return _apart(_undominated([candidate for candidate in candidates if fits(candidate.rise)]))


def _undominated(candidates: list[Candidate]) -> list[Candidate]:
    """By rising size, the candidates whose NLL is lower than that of all smaller ones."""
    result: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.bits, c.rise.nll)):
        if not result or candidate.rise.nll < result[-1].rise.nll:
            result.append(candidate)
    return result


def _apart(candidates: list[Candidate]) -> list[Candidate]:
    """Of candidates by rising size, those that differ by enough to be worth finishing."""
    result: list[Candidate] = []
    for candidate in candidates:
        if not result or candidate.bits > APART * result[-1].bits:
            result.append(candidate)
    return result


@dataclass(frozen=True)
class _Finished:
    """A finished candidate: its bytes, archive and network, its rise and whether that is within."""

    data: bytes
    archive: Archive
    net: nn.Module
    candidate: Candidate
    rise: Rise
    fits: bool

    @property
    def merit(self) -> tuple:
        """The smaller the better: the size of what is within the margins, else the NLL."""
        return (0, len(self.data)) if self.fits else (1, self.rise.nll)


def smallest(
    trial: Trial, found: list[Candidate], label: str | None, coder: str | None, say: Progress
) -> tuple[bytes, Archive, Candidate, nn.Module]:
    """The candidate whose file is smallest, biases and all; one within the margins if any is.

    Retraining moves the predictions of each candidate a little, for better or worse. Where all that
    were retrained miss the margins, those that were within them before are finished as they are.
    """
    ladder = _ladder(found, trial.may_fit) or [min(found, key=lambda c: c.rise.nll)]
    matched = trial.matching is not None
    best = _bisected(trial, ladder, matched, label, coder, say)
    plain = _ladder(found, trial.fits)
    if matched and plain and not best.fits:
        best = min(best, _bisected(trial, plain, False, label, coder, say), key=lambda f: f.merit)
    return best.data, best.archive, best.candidate, best.net


def _bisected(
    trial: Trial, ladder: list[Candidate], retrain: bool, label: str | None, coder: str | None,
    say: Progress,
) -> _Finished:  # fmt: skip
    """The best of a ladder, by bisection: finishing takes seconds, and the rise falls with size."""
    best, first, last = None, 0, len(ladder) - 1
    began, rounds = time.monotonic(), 0
    while first <= last:
        middle = (first + last) // 2
        candidate = ladder[middle]
        small, codes, rise, fits = trial.finish(candidate.pruned, candidate.setting, retrain)
        first, last = (first, middle - 1) if fits else (middle + 1, last)
        rounds, more = rounds + 1, (last - first + 1).bit_length()
        left = duration((time.monotonic() - began) / rounds * more)
        say(f"about {candidate.bits / 8:.0f} bytes finished, NLL {rise.nll:+.4f}; {left} left")
        if best is not None and not fits and best.merit <= (1, rise.nll):
            continue
        archive = _archive(small, codes, label, trial)
        finished = _Finished(encode(archive, coder), archive, small, candidate, rise, fits)
        best = finished if best is None else min(best, finished, key=lambda f: f.merit)
    return best


def _archive(net: nn.Module, codes: dict, label: str | None, trial: Trial) -> Archive:
    """The archive of a network with quantised tensors."""
    architecture = describe(net, label, [n for n in trial.weights if n in codes])
    state = net.state_dict()
    tensors = {
        spec.name: codes.get(spec.name, state[spec.name].numpy()) for spec in architecture.tensors()
    }
    return Archive(architecture, tensors)
