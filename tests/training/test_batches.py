"""Batches as steps take them: each image with the teacher's probabilities where it was moved to."""

import pytest
import torch
from bitsback.models import Rate
from bitsback.training import batches
from bitsback.training.augment import corners, mirrored, shifted
from bitsback.training.batches import Batches
from bitsback.training.options import Options
from torch import nn

X, Y = torch.rand(50, 1, 6, 6), torch.arange(50) % 3


def model(teacher=True):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    return Rate(net, len(X), teacher=teacher, temperature=2.0)


def batches_of(taught, **options):
    return Batches(taught, (X, Y), Options(batch_size=20, **options), lambda text: None)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_teacher_is_asked_once_about_every_place(shift, monkeypatch):
    taught = model()
    found = batches_of(taught, epochs=10, shift=shift)
    chosen = found.order(3)[:20]
    expected = taught.teacher.soft(shifted(X[chosen], shift, 5))
    monkeypatch.setattr(taught.teacher, "net", None)  # not to be asked again
    x, y = found.take(chosen, 5)
    assert x.equal(shifted(X[chosen], shift, 5))
    labels, soft = taught.teacher.lesson(x, y)
    assert labels.equal(Y[chosen]) and labels.dtype == Y.dtype
    torch.testing.assert_close(soft, expected, rtol=1e-5, atol=1e-7)


def test_a_teacher_of_integers():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 3))
    taught, x = Rate(net, len(X), teacher=True), torch.arange(150).reshape(50, 3) % 7
    found = Batches(taught, (x, Y), Options(batch_size=20, epochs=3), lambda text: None)
    soft = taught.teacher.lesson(*found.take(torch.arange(20), 5))[1]
    torch.testing.assert_close(soft, taught.teacher.soft(x[:20]))


def test_all_places_come_up():
    at = corners(200, 1, 3)
    assert at.shape == (2, 200)
    assert len(set(zip(*at.tolist(), strict=True))) == 9


@pytest.mark.parametrize(
    ("teacher", "epochs", "largest"),
    [(None, 10, 9 * 50 * 3), (True, 9, 9 * 50 * 3), (True, 10, 9 * 50 * 3 - 1)],
    ids=["no teacher", "as many places as epochs", "too many to keep"],
)
def test_labels_alone(teacher, epochs, largest, monkeypatch):
    monkeypatch.setattr(batches, "LARGEST", largest)
    found = batches_of(model(teacher), epochs=epochs, shift=1)
    assert found.take(torch.arange(20), 5)[1].equal(Y[:20])


def test_moves_images_alone():
    with pytest.raises(ValueError, match=r"shift needs images .*, not \(50, 36\)"):
        Batches(model(), (X.flatten(1), Y), Options(shift=1), lambda text: None)


def test_flips_ask_the_teacher_anew():
    """The table of what it says has no place for mirrored images."""
    taught = model()
    found = batches_of(taught, epochs=10, flip=True)
    chosen = found.order(3)[:20]
    x, y = found.take(chosen, 5)
    assert x.equal(mirrored(X[chosen], 5)) and not x.equal(X[chosen])
    assert y.equal(Y[chosen])
    with pytest.raises(ValueError, match="flip needs images"):
        Batches(taught, (X[:, 0], Y), Options(flip=True), lambda text: None)
