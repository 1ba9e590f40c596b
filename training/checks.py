"""One look at network, data, likelihood and `num_data` before a training's first step."""

from typing import Any

from ..common.examples import check_pair, count
from .diagnose import check_data
from .steps import Pair


def check_run(pair: Pair, train: Any, validation: Any, batch_size: int) -> int:
    """Refuse a training that cannot work, or would be of something else than was meant.

    :param train: a pair of inputs and labels; inputs may be a tuple or dict of tensors.
    :param validation: the same, or None.
    :returns: the size of a batch, at most the number of training examples.
    :raises ValueError: says in one line what is wrong and what to do.
    :raises NonFiniteError: for NaN or infinity in inputs or labels.
    """
    check_pair(train, "training")
    if validation is not None:
        check_pair(validation, "validation")
    examples = count(train[0])
    num_data = getattr(pair.model, "num_data", examples)
    if num_data != examples:
        raise ValueError(
            f"num_data is {num_data}, but there are {examples} training examples: it is the number "
            f"of examples, not of batches; make the model with num_data={examples}"
        )
    for name, parameter in pair.named_parameters():
        if parameter.is_inference():
            raise ValueError(
                f"{name} was made inside torch.inference_mode() and cannot be trained: make model "
                "and guide outside of it"
            )
    batch = min(batch_size, examples)
    check_data(pair, *train, batch)
    if validation is not None:
        check_data(pair, *validation, batch, "validation")
    return batch
