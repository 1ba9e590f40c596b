"""Looking a name up in a table, with an error that lists the known names."""

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")

# Of DATASETS and NETWORKS, for help texts, which must not load torch; a test compares them.
DATASET_NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")
NETWORK_NAMES = (
    "digits-mlp", "lenet-300-100", "lenet-5-caffe", "lenet-5-caffe-relu", "lenet-5-bayesian-bits",
    "resnet-8", "resnet-20",
)  # fmt: skip


def lookup(kind: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """The entry of `table` called `name`.

    :param kind: what the table holds ("data set", "network", "method"), for the message.
    :raises ValueError: if there is no such entry; the message lists those that there are.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]
