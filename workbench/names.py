"""Looking a name up in a table, with an error that lists the known names."""

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


def lookup(kind: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """The entry of `table` called `name`.

    :param kind: what the table holds ("data set", "network", "method"), for the message.
    :raises ValueError: if there is no such entry; the message lists those that there are.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]
