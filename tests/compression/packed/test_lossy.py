"""The error bound holds for every type, and the integers are the best within it."""

import io
import itertools

import numpy as np
import pytest
import torch
from bitsback.compression.archive import storable
from bitsback.compression.packed import lossy
from bitsback.compression.packed.bounded import Body
from bitsback.compression.packed.dtypes import BY_NAME, LOSSY, to_floats
from bitsback.compression.packed.integers import decode_integers, strips
from hypothesis import given
from hypothesis import strategies as st

from .samples import bits, packed, read, weights


def unsigned(tensor: torch.Tensor) -> np.ndarray:
    kind = BY_NAME[str(tensor.dtype).removeprefix("torch.")]
    return np.frombuffer(bits(tensor), kind.unsigned)


@pytest.mark.parametrize("error", [0.03, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", LOSSY)
def test_matrices_are_within_the_bound(name, error):
    tensor = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    tensor[:2] *= 20
    tensor, kind = tensor.to(getattr(torch, name)), BY_NAME[name]
    values = to_floats(unsigned(tensor), kind)
    most = error * np.sqrt(np.mean(values**2))
    coded = lossy.lossy_matrix(unsigned(tensor), (30, 40), kind, most)
    data = b"".join(coded)
    body = Body(io.BytesIO(data), 0, len(data))
    found = to_floats(decode_integers(body, (30, 40), kind), kind)
    body.end()
    assert np.abs(found - values).max() <= most
    assert np.abs(found - values).max() > most / 3
    assert len(data) < values.size * kind.width


@given(st.data())
def test_any_matrix_is_within_the_bound_or_kept(data):
    """Outliers of any size, numbers near the smallest and the largest of the type."""
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
    values = np.array(data.draw(st.lists(numbers, min_size=6, max_size=6)), np.float32)
    scale = float(data.draw(st.floats(1e-3, 1)))
    kind = BY_NAME["float32"]
    size = lossy.rms_of(values.view(np.uint32), kind)
    coded = lossy.lossy_matrix(values.view(np.uint32), (2, 3), kind, scale * size)
    if coded is None:
        return
    body = Body(io.BytesIO(b"".join(coded)), 0, sum(map(len, coded)))
    found = decode_integers(body, (2, 3), kind).view(np.float32)
    assert np.all(np.abs(found.astype(np.float64) - values) <= scale * size)


def greedy(row: list[float], lengths: np.ndarray, limit: float) -> list[int]:
    """The choice of the module's docstring, weight by weight, among all integers."""
    most, carry, chosen = len(lengths) // 2, 0.0, []
    for weight in row:
        costs = {
            (weight - k) ** 2
            + lossy.MEAN * (carry + weight - k) ** 2
            + lossy.LAMBDA * lengths[k + most]: k
            for k in range(-most, most + 1)
            if abs(weight - k) <= limit
        }
        chosen.append(costs[min(costs)])
        carry += weight - chosen[-1]
    return chosen


def test_integers_are_the_greedy_choice_among_all():
    rows = 2 * np.random.default_rng(0).standard_normal((7, 60))
    lengths = lossy._code_lengths(np.rint(rows).astype(np.int32))
    found = lossy._chosen(np.ascontiguousarray(rows.T), lengths, 0.7).T
    assert found.tolist() == [greedy(row, lengths, 0.7) for row in rows.tolist()]


def test_errors_of_a_row_cancel():
    """Beside rounding to the nearest, the objective without bits falls, and by the sums alone."""
    values = np.random.default_rng(0).standard_normal((20, 2500))
    codes = lossy.quantise(values, 0.5, 0.5 / 1.5).codes
    errors, nearest = (values / 0.5 - k for k in (codes, np.rint(values / 0.5)))
    assert np.abs(errors.sum(axis=1)).max() < 6 < np.abs(nearest.sum(axis=1)).max()
    assert np.square(errors).sum() < 1.4 * np.square(nearest).sum()


def test_rows_longer_than_a_segment_keep_their_order():
    values = np.random.default_rng(0).standard_normal((3, 2 * lossy.SEGMENT + 5))
    codes = lossy.quantise(values, 0.25, 0.25 / 1.5).codes
    assert np.abs(values / 0.25 - codes).max() <= 1 / 1.5


def test_the_price_of_bits_makes_files_smaller(monkeypatch):
    values = np.random.default_rng(0).laplace(size=5000)
    step = float(storable(0.9))
    sizes = {}
    for price in (0.0, lossy.LAMBDA):
        monkeypatch.setattr(lossy, "LAMBDA", price)
        codes = lossy.quantise(values, step, 0.6).codes
        counts = np.unique(codes, return_counts=True)[1]
        sizes[price] = -(counts * np.log2(counts / counts.sum())).sum()
    assert sizes[lossy.LAMBDA] < 0.99 * sizes[0.0]


def test_smaller_tensors_have_tighter_bounds():
    assert lossy.bound_of(400, 400, 0.3) == 0.3
    assert lossy.bound_of(100, 400, 0.3) == pytest.approx(0.15)
    assert lossy.bound_of(1, 10**9, 0.3) == 0.3 * lossy.LEAST


@pytest.mark.parametrize("name", LOSSY)
def test_vectors_keep_zeros_signs_and_relative_precision(name):
    kind = BY_NAME[name]
    tensor = torch.cat([torch.tensor([0.0, -0.0, 1e-4, -1e-4]), torch.linspace(-2, 3, 999)])
    tensor = tensor.to(getattr(torch, name))
    rms = lossy.rms_of(unsigned(tensor), kind)
    found = to_floats(lossy.lossy_vector(unsigned(tensor), kind, rms, 0.32), kind)
    values = to_floats(unsigned(tensor), kind)
    assert np.all(np.abs(found - values) <= 0.32 / lossy.VECTOR * np.abs(values))
    assert np.array_equal(np.signbit(found), np.signbit(values))
    assert np.any(found != values)


def test_an_outlier_of_a_vector_is_within_the_bound():
    values = np.full(100_000, 1e-3, np.float32)
    values[7] = 1.23456
    kind = BY_NAME["float32"]
    rms = lossy.rms_of(values.view(np.uint32), kind)
    found = lossy.lossy_vector(values.view(np.uint32), kind, rms, 0.5).view(np.float32)
    assert np.abs(found.astype(float) - values).max() <= 0.5 * rms


@pytest.mark.parametrize("name", LOSSY)
def test_the_largest_numbers_do_not_become_infinite(name):
    kind = BY_NAME[name]
    tensor = torch.full((6,), torch.finfo(getattr(torch, name)).max, dtype=getattr(torch, name))
    rounded = lossy.lossy_vector(unsigned(tensor), kind, 1e300, 0.5)
    assert not lossy.not_finite(rounded, kind)


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_found(name, value):
    tensor = torch.ones(5).to(getattr(torch, name))
    assert not lossy.not_finite(unsigned(tensor), BY_NAME[name])
    tensor[3] = value
    assert lossy.not_finite(unsigned(tensor), BY_NAME[name])


def test_zeros_and_bounds_finer_than_the_type_are_kept_exactly():
    tensors = {"zero": torch.zeros(100, 100), "fine": torch.randn(9, 9).to(torch.bfloat16)}
    assert read(packed(tensors, 1e-4)) == {name: bits(t) for name, t in tensors.items()}


def test_strips_cover_a_tensor_once():
    for shape in ((3, 5), (3000, 1000), (2, 3_000_000), (1, 1_500_000, 2), (1500, 2, 700)):
        starts = [*(first for first, _ in strips(shape)), int(np.prod(shape))]
        sizes = [int(np.prod(part)) for _, part in strips(shape)]
        assert [b - a for a, b in itertools.pairwise(starts)] == sizes
        assert starts[0] == 0 and max(sizes) <= 1 << 20


def test_a_checkpoint_is_within_its_bounds():
    tensors = weights()
    found = read(packed(tensors, 0.4))
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            assert found[name] == bits(tensor)
            continue
        values = np.frombuffer(found[name], np.float32).astype(float)
        off = np.abs(values - tensor.reshape(-1).double().numpy()).max()
        assert off <= 0.4 * tensor.double().square().mean().sqrt()
