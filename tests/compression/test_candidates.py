"""Which candidates are finished, and which finished one is taken."""

from types import SimpleNamespace

import pytest
from bitsback.compression import candidates
from bitsback.compression.candidates import Candidate, _apart, _undominated, smallest
from bitsback.compression.scores import Rise


def candidate(bits: float, nll: float) -> Candidate:
    return Candidate(bits, None, None, Rise(nll, 0.0, 0.0, 0.0))


class Search:
    """A trial whose margin is 0.01 nats, and whose candidates are finished as a table says.

    :param finished: bytes and rise by the bits of a candidate and whether it is retrained.
    """

    def __init__(self, finished, monkeypatch, matching=None):
        self.finished, self.matching, self.log, self.said = finished, matching, [], []
        monkeypatch.setattr(candidates, "_archive", lambda small, codes, label, trial: small)
        monkeypatch.setattr(candidates, "encode", lambda archive, coder: b"x" * archive)

    def fits(self, rise):
        return rise.nll <= 0.01

    def may_fit(self, rise):
        return rise.nll <= (0.01 if self.matching is None else 0.03)

    def finish(self, pruned, setting, retrain):
        bits = self.asked.bits
        self.log.append((bits, retrain))
        size, nll = self.finished[bits, retrain]
        return size, {}, Rise(nll, 0.0, 0.0, 0.0), nll <= 0.01

    def run(self, found):
        trial = self
        given = [
            Candidate(c.bits, c, None, c.rise) for c in found
        ]  # `pruned` stands for the candidate itself

        class Trial(SimpleNamespace):
            def finish(self, pruned, setting, retrain):
                trial.asked = pruned
                return trial.finish(pruned, setting, retrain)

        made = Trial(fits=self.fits, may_fit=self.may_fit, matching=self.matching)
        data, _, taken, _ = smallest(made, given, None, "small", self.said.append)
        return len(data), taken.bits


def test_undominated_and_apart():
    found = [candidate(300, 0.0), candidate(100, 0.02), candidate(200, 0.03), candidate(301, -0.01)]
    kept = _undominated(found)
    assert [c.bits for c in kept] == [100, 300, 301]
    assert [c.bits for c in _apart(kept)] == [100, 300]  # 301 is within 3 %


def test_the_smallest_file_within_the_margins_is_taken(monkeypatch):
    """By bisection; of the finished ones the bytes count, not the estimate."""
    nll = {100: 0.02, 200: 0.009, 300: 0.0, 400: -0.01}
    finished = {(b, False): (b // 8, n) for b, n in nll.items()}
    found = [candidate(b, 0.01 - b / 1e6) for b in nll]
    search = Search(finished, monkeypatch)
    assert search.run(found) == (25, 200)
    assert search.log == [(200, False), (100, False)]
    search = Search(finished | {(200, False): (99, 0.02)}, monkeypatch)
    assert search.run(found) == (37, 300)
    larger = Search(finished | {(100, False): (99, 0.0)}, monkeypatch)
    assert larger.run(found) == (25, 200)


def test_where_all_fit_the_smallest_is_taken(monkeypatch):
    finished = {(bits, False): (bits // 8, 0.0) for bits in (100, 200, 300)}
    found = [candidate(b, 0.01 - b / 1e6) for b in (100, 200, 300)]
    search = Search(finished, monkeypatch)
    assert search.run(found) == (12, 100) and search.log == [(200, False), (100, False)]


def test_where_none_fits_the_one_of_least_nll_is_taken(monkeypatch):
    finished = {(100, False): (12, 0.05), (200, False): (25, 0.03), (300, False): (37, 0.04)}
    found = [candidate(b, 0.01 - b / 1e6) for b in (100, 200, 300)]
    assert Search(finished, monkeypatch).run(found) == (25, 200)
    later = finished | {(300, False): (37, 0.02)}
    assert Search(later, monkeypatch).run(found) == (37, 300)
    hopeless = [candidate(100, 0.5), candidate(300, 0.2), candidate(200, 0.4)]
    search = Search(finished, monkeypatch)
    assert search.run(hopeless) == (37, 300) and len(search.log) == 1


@pytest.mark.parametrize(
    ("plain", "taken"),
    [((50, 0.005), (50, 300)), ((50, 0.015), (50, 300)), ((50, 0.05), (25, 200))],
)
def test_where_retraining_misses_the_margins_what_was_within_is_finished_as_it_is(
    plain, taken, monkeypatch
):
    retrained = {(200, True): (25, 0.02), (300, True): (37, 0.03)}
    found = [candidate(200, 0.02), candidate(300, 0.009)]
    search = Search(retrained | {(300, False): plain}, monkeypatch, matching="inputs")
    assert search.run(found) == taken
    assert search.log == [(200, True), (300, True), (300, False)]


def test_where_retraining_is_within_the_margins_it_stays(monkeypatch):
    found = [candidate(200, 0.02), candidate(300, 0.009)]
    search = Search({(200, True): (25, 0.002)}, monkeypatch, matching="inputs")
    assert search.run(found) == (25, 200) and search.log == [(200, True)]


def test_how_long_it_takes_is_estimated(monkeypatch):
    """By the mean of the candidates so far, and the most that bisection can still take."""
    now = iter([0.0, 90.0, 130.0])
    monkeypatch.setattr(candidates.time, "monotonic", lambda: next(now))
    finished = {(bits, False): (bits // 8, 0.009) for bits in (100, 200, 300, 400)}
    search = Search(finished, monkeypatch)
    search.run([candidate(bits, 0.01 - bits / 1e6) for bits in (100, 200, 300, 400)])
    assert search.said == [
        "about 25 bytes finished, NLL +0.0090; 1:30 left",
        "about 12 bytes finished, NLL +0.0090; 0:00 left",
    ]
