"""The parts of a user's own data: labels checked, missing parts split off, one `Dataset` made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..common.examples import count, each, take
from .data import SPLIT_SEED, Dataset, Split
from .fitting import shape_text

LIKELIHOODS = ("categorical", "bernoulli", "normal")
NAMES = ("train", "validation", "test")
SHARE = 6  # one example in six goes to a part that is split off, as of digits
SHOWN = 5  # classes in a message


@dataclass(frozen=True)
class Part:
    """Examples as they were read.

    :param x: inputs, shape `(n, ...)`, or a tuple or dict of tensors of such shapes; bytes are
        taken for pixels and divided by 255.
    :param y: labels, first axis the examples, of any kind of number.
    :param x_field: where the inputs were read from, as in "data.npz: x_train", for messages;
        `y_field` likewise.
    """

    x: Any
    y: np.ndarray
    x_field: str
    y_field: str


def dataset(
    name: str,
    parts: Mapping[str, Part],
    likelihood: str | None = None,
    classes: Sequence[str] | None = None,
    tested: bool = True,
) -> Dataset:
    """A data set of the user's parts.

    Parts that are missing are split off the training part: the test part first, then the
    validation part, each one example in `SHARE`, of each class alike. The split follows from
    the number and the classes of the examples alone (`numpy.random.RandomState(0)`).

    :param parts: by name, of `NAMES`; "train" must be there.
    :param likelihood: of the labels; default: "categorical" for whole numbers.
    :param classes: names of the classes, in the order of their numbers.
    :param tested: whether there is to be a test part; if not, none is split off.
    :raises ValueError: names the file and field that is wrong.
    """
    check_likelihood(likelihood)
    likelihood = likelihood or _likelihood_of(parts["train"])
    levels = 255 if getattr(parts["train"].x, "dtype", None) == np.uint8 else None
    splits = {key: _split(part, likelihood) for key, part in parts.items()}
    shape = _shape(splits["train"])
    for key, part in parts.items():
        if _shape(splits[key]) != shape:
            raise ValueError(
                f"{part.x_field}: examples have shape {shape_text(_shape(splits[key]))}, those of "
                f"{parts['train'].x_field} {shape_text(shape)}"
            )
    missing = [key for key in NAMES if key not in splits and (tested or key != "test")]
    for key in reversed(missing):
        splits["train"], splits[key] = _split_off(splits["train"], parts["train"].y_field, key)
    outputs = _outputs(splits, parts, likelihood, classes)
    about = {"split_off": missing, "split_seed": SPLIT_SEED if missing else None}
    every = (splits["train"], splits["validation"], splits.get("test"))
    return Dataset(name, *every, outputs, shape, levels, about)


def check_likelihood(likelihood: str | None) -> None:
    """:raises ValueError: for an unknown one."""
    if likelihood not in (None, *LIKELIHOODS):
        known = ", ".join(LIKELIHOODS)
        raise ValueError(f"--likelihood {likelihood}: must be one of {known}")


def _likelihood_of(part: Part) -> str:
    if part.y.dtype.kind in "iub" and part.y.ndim == 1:
        return "categorical"
    raise ValueError(
        f"{part.y_field}: is {part.y.dtype} of shape {part.y.shape}; say what the labels are: "
        "--likelihood normal (regression), bernoulli (one or more labels of 0 or 1), or give whole "
        "numbers of classes"
    )


def _shape(split: Split) -> Any:
    """The shape of one input, or of each of several."""
    return each(split.x, lambda tensor: tensor.shape[1:])


def _split(part: Part, likelihood: str) -> Split:
    x = part.x
    inputs = count(x) if isinstance(x, tuple | dict) else len(x)
    if inputs != len(part.y) or not len(part.y):
        raise ValueError(
            f"{part.y_field}: has {len(part.y):,} labels for the {inputs:,} inputs of "
            f"{part.x_field}"
        )
    if isinstance(x, tuple | dict):
        found = each(x, lambda tensor: _numbers(tensor.numpy(), part.x_field))
    else:
        found = _numbers(x, part.x_field)
    return Split(found, _labels(part, likelihood), likelihood)


def _numbers(x: np.ndarray, field: str) -> Tensor:
    """Inputs as float32, or int64 where they are whole numbers (of words, say)."""
    kind = x.dtype.kind
    if x.dtype == np.uint8:
        return torch.from_numpy(x.astype(np.float32) / np.float32(255))
    if kind in "iu":
        return torch.from_numpy(x.astype(np.int64))
    if kind not in "fb":
        raise ValueError(f"{field}: is {x.dtype}; it must hold numbers")
    x = np.ascontiguousarray(x, np.float32)
    _check_finite(x, field)
    return torch.from_numpy(x)


def _check_finite(values: np.ndarray, field: str) -> None:
    good = np.isfinite(values).reshape(len(values), -1).all(1)
    if not good.all():
        raise ValueError(f"{field}: NaN or infinity in example {int(np.argmin(good))}")


def _labels(part: Part, likelihood: str) -> Tensor:
    """Labels as the likelihood reads them: int64 of classes, else float32."""
    y, field = part.y, part.y_field
    if y.dtype.kind not in "iubf":
        raise ValueError(f"{field}: is {y.dtype}; labels must be numbers")
    if likelihood == "categorical":
        return torch.from_numpy(_classes(y, field))
    values = np.ascontiguousarray(y, np.float32)
    _check_finite(values, field)
    if likelihood == "bernoulli" and not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{field}: --likelihood bernoulli takes labels of 0 and 1; these span "
            f"{values.min():g}..{values.max():g}"
        )
    return torch.from_numpy(values)


def _classes(y: np.ndarray, field: str) -> np.ndarray:
    if y.dtype.kind == "f":
        raise ValueError(
            f"{field}: is {y.dtype}; give whole numbers of classes (y.astype(int)), or "
            "--likelihood normal for regression"
        )
    if y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all():
        raise ValueError(
            f"{field}: looks one-hot, shape {y.shape}; give the number of the class "
            "(y.argmax(1)), or --likelihood bernoulli"
        )
    if y.dtype.kind != "b" and y.min() < 0:
        raise ValueError(
            f"{field}: holds {y.min()} (example {int(np.argmin(y.reshape(len(y), -1).min(1)))}); "
            "classes are numbered from 0; leave out examples without a class"
        )
    return y.astype(np.int64)


def _split_off(split: Split, field: str, part: str) -> tuple[Split, Split]:
    """A part without one example in `SHARE`, and these."""
    order = np.random.RandomState(SPLIT_SEED).permutation(len(split))
    groups = [order]
    if split.likelihood == "categorical" and split.y.dim() == 1:
        of = split.y.numpy()[order]
        groups = [order[of == value] for value in np.unique(of)]
    for group in groups:
        if len(group) < 2:
            raise ValueError(
                f"{field}: class {int(split.y[group[0]])} has too few examples to split off a "
                f"{part} part with one; give more, or that part"
            )
    chosen = np.sort(np.concatenate([group[: max(len(group) // SHARE, 1)] for group in groups]))
    rest = np.setdiff1d(order, chosen)
    return tuple(
        replace(split, x=take(split.x, at), y=split.y[at])
        for at in (torch.from_numpy(rest), torch.from_numpy(chosen))
    )


def _outputs(
    splits: Mapping[str, Split], parts: Mapping[str, Part], likelihood: str, names: Any
) -> int:
    """How many classes, or numbers to predict, there are; each class must be in each part."""
    labels = {key: split.y for key, split in splits.items()}
    if likelihood != "categorical":
        return labels["train"][0].numel()
    count = len(names) if names else 1 + max(int(y.max()) for y in labels.values())
    for key, y in labels.items():
        absent = sorted(set(range(count)) - set(y.unique().tolist()))
        if absent:
            field = parts[key].y_field if key in parts else f"{parts['train'].y_field}, {key} part"
            shown = ", ".join(str(names[k] if names else k) for k in absent[:SHOWN])
            more = f" and {len(absent) - SHOWN} others" if len(absent) > SHOWN else ""
            raise ValueError(
                f"{field}: has no example of class {shown}{more} (of {count}); number the classes "
                "from 0 without gaps, and have each in each part"
            )
    return count
