"""Data as tensors in memory, whatever they come as: tensors, a torch Dataset, or a DataLoader."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler

from .examples import Inputs, tensors

# What `fit` and `compress` take: inputs and labels, in memory or not.
Data = tuple[Inputs, Tensor] | Dataset[Any] | DataLoader[Any]

CHUNK = 256  # examples read at a time


def in_memory(data: Any, part: str) -> Any:
    """A pair (inputs, labels) of tensors, read once.

    A Dataset is read in order. Of a DataLoader its Dataset is read in order, with its `collate_fn`
    and workers, all examples once, however it shuffles; a loader with a sampler of its own, a
    batch sampler or an IterableDataset is iterated once. Random augmentation inside a Dataset is
    frozen by that: use the options of `fit`, which move and mirror images anew in each epoch.

    :param data: a Dataset or DataLoader of pairs; anything else is returned as it is.
    :param part: "training" or "validation", for messages.
    :raises ValueError: for examples that are no pairs, and for none at all.
    """
    if isinstance(data, DataLoader):
        return _joined(_in_order(data), part)
    if isinstance(data, Dataset):
        return _joined(DataLoader(data, CHUNK), part)
    return data


def _iterable(data: Any) -> bool:
    return isinstance(data, IterableDataset)


def _in_order(loader: DataLoader) -> DataLoader:
    """A loader of all examples of another's Dataset in order, if that is what it draws from."""
    sampler = loader.sampler
    whole = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(sampler.data_source)
    )
    if not whole or _iterable(loader.dataset) or loader.batch_size is None:
        return loader
    return DataLoader(
        loader.dataset, CHUNK, collate_fn=loader.collate_fn, num_workers=loader.num_workers
    )


def _joined(loader: DataLoader, part: str) -> tuple[Inputs, Tensor]:
    """All batches of a loader as one pair. Memory is taken once where the number is known."""
    found, at, total = None, 0, _count(loader)
    for batch in _batches(loader, part):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(
                f"{part} data: must give pairs (inputs, labels), and give {_kind(batch)}"
            )
        x, y = batch
        if not isinstance(y, Tensor) or not y.dim() or not tensors(x):
            raise ValueError(f"{part} data: inputs and labels must be batches of tensors")
        size = len(y)
        if found is None:
            found = _room(tuple(batch), max(total or 0, size))
        while at + size > len(found[1]):
            found = _larger(found, part)
        _fill(found, tuple(batch), at, part)
        at += size
    if found is None:
        raise ValueError(f"{part} data: hold no examples")
    return _map(found, lambda tensor: tensor[:at])


def _batches(loader: DataLoader, part: str) -> Iterator[Any]:
    """The loader's batches; examples that cannot be stacked are the user's to mend."""
    try:
        yield from loader
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{part} data: examples do not make a batch ({reason})") from error


def _count(loader: DataLoader) -> int | None:
    if _iterable(loader.dataset):
        return None
    try:
        return len(loader.sampler) if loader.batch_size is not None else None
    except TypeError:  # a sampler without a length
        return None


def _room(batch: Any, count: int) -> Any:
    return _map(batch, lambda tensor: tensor.new_empty((count, *tensor.shape[1:])))


def _larger(found: Any, part: str) -> Any:
    """Twice the room, with what is there."""
    room = _room(found, 2 * len(found[1]))
    _fill(room, found, 0, part)
    return room


def _fill(room: Any, batch: Any, at: int, part: str) -> None:
    for target, source in zip(tensors(room), tensors(batch), strict=True):
        if target.shape[1:] != source.shape[1:]:
            raise ValueError(
                f"{part} data: examples have shapes {tuple(target.shape[1:])} and "
                f"{tuple(source.shape[1:])}; they must all have one"
            )
        target[at : at + len(source)].copy_(source)


def _map(value: Any, change) -> Any:
    if isinstance(value, dict):
        return {key: _map(part, change) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_map(part, change) for part in value)
    return change(value) if isinstance(value, Tensor) else value


def _kind(batch: Any) -> str:
    size = f" of {len(batch)}" if isinstance(batch, tuple | list | dict) else ""
    return f"a {type(batch).__name__}{size}"
