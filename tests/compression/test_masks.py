"""Masks follow log alpha and inclusion; posteriors that do not fit are refused by name."""

import math

import pytest
import torch
from bitsback.compression.masks import THRESHOLDS, candidates, check_posterior, mask, masks
from bitsback.posterior import Grid, Group, Posterior, WeightPosterior


def weight(log_alpha, inclusion=1.0, **fields) -> WeightPosterior:
    values = torch.ones(2, 3)
    return WeightPosterior(
        **({"loc": values, "stddev": values} | fields),
        inclusion=torch.as_tensor(inclusion),
        log_alpha=None if log_alpha is None else torch.as_tensor(log_alpha),
    )


LOG_ALPHA = [[-5.0, 0.0, 3.0], [2.9, 7.0, math.inf]]


def test_a_weight_at_the_threshold_is_pruned():
    kept = mask(weight(LOG_ALPHA), 3.0)
    assert kept.tolist() == [[True, True, False], [True, False, False]]


def test_inclusion_prunes_below_one_half():
    kept = mask(weight(LOG_ALPHA, [[0.5], [0.49]]), 3.0)
    assert kept.tolist() == [[True, True, False], [False, False, False]]
    assert mask(weight(None, [[0.5], [0.49]]), -9.0).tolist() == [[True] * 3, [False] * 3]


def test_delta_posteriors_are_not_pruned():
    assert all(
        kept.all()
        for _, kept in candidates(Posterior({"a": weight(None)}))
        for kept in kept.values()
    )
    assert len(candidates(Posterior({"a": weight(None)}))) == 1


def test_candidates_are_nested_and_end_with_everything():
    generator = torch.Generator().manual_seed(1)
    log_alpha = 20 * torch.rand(2, 3, generator=generator) - 8
    posterior = Posterior({"a": weight(log_alpha), "b": weight(LOG_ALPHA)})
    found = candidates(posterior)
    counts = [sum(int(m.sum()) for m in kept.values()) for _, kept in found]
    assert counts == sorted(set(counts)) and counts[-1] == 6 + 5  # an infinite one never stays
    for threshold, kept in found:
        assert threshold in THRESHOLDS
        assert all(torch.equal(kept[name], m) for name, m in masks(posterior, threshold).items())


GROUPS = (Group(0, torch.tensor([1.0, 2.0])), Group(1, torch.tensor([0.0, 3.0, 9.0])))


def test_units_go_by_the_score_of_their_group():
    unit = weight(LOG_ALPHA, groups=GROUPS)
    assert mask(unit, 2.5, "groups").tolist() == [[True, False, False]] * 2
    assert mask(unit, 2.0, "groups").tolist() == [[True, False, False], [False] * 3]
    assert mask(unit, 2.5, "none").all()


def test_thresholds_of_groups_are_their_own_scores():
    posterior = Posterior({"a": weight(LOG_ALPHA, groups=GROUPS)})
    found = candidates(posterior, "groups")
    counts = [int(kept["a"].sum()) for _, kept in found]
    assert counts == [0, 1, 2, 4, 6] and found[-1][0] == math.inf
    assert len(candidates(posterior, "none")) == 1
    with pytest.raises(ValueError, match=r"groups.*share a scale"):
        candidates(Posterior({"a": weight(LOG_ALPHA)}), "groups")


CODES = torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"groups": (Group(2, torch.ones(3)),)}, "group of 'w' is along axis 2"),
        ({"groups": (Group(1, torch.ones(2)),)}, r"scores .* 'w' along axis 1 .*\(3,\)"),
        ({"groups": (Group(0, torch.tensor([1.0, math.nan])),)}, "must be numbers"),
        ({"grid": Grid(codebook=torch.zeros(2), codes=CODES + 2)}, "codes of 'w'.*2 values"),
        ({"grid": Grid(codebook=torch.zeros(2), codes=CODES[:1])}, "codes of 'w'"),
        ({"loc": torch.ones(3, 2)}, r"loc of 'w' has shape \(3, 2\).*\(2, 3\)"),
        ({"stddev": torch.ones(2)}, "stddev of 'w' has shape"),
        ({"log_alpha": torch.ones(2)}, "log_alpha of 'w' has shape"),
        ({"loc": torch.full((2, 3), math.nan)}, "loc of 'w' holds NaN"),
        ({"stddev": torch.full((2, 3), math.inf)}, "stddev of 'w' holds NaN or inf"),
        ({"log_alpha": torch.full((2, 3), math.nan)}, "log_alpha of 'w' holds NaN"),
        ({"stddev": -torch.ones(2, 3)}, "negative"),
        ({"inclusion": torch.full((2, 1), 1.5)}, "inclusion of 'w'"),
        ({"inclusion": torch.ones(2)}, "inclusion of 'w'"),
    ],
)
def test_a_posterior_that_does_not_fit(fields, message):
    fields = {"log_alpha": torch.zeros(2, 3)} | fields
    with pytest.raises(ValueError, match=message):
        check_posterior(Posterior({"w": weight(**fields)}), {"w": torch.zeros(2, 3)})


def test_names_that_are_not_in_the_network():
    with pytest.raises(ValueError, match=r"'w' is not in the network; it has: fc\.weight"):
        check_posterior(Posterior({"w": weight(None)}), {"fc.weight": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="no weights"):
        check_posterior(Posterior({}), {})
