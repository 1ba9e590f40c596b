"""Where `shrink` keeps feature maps: in memory, or in temporary files where they take too much.

Every operator's output for all calibration inputs is kept until its last reader has run. For large
images that is gigabytes. A map in a file is read through the operating system's page cache, which
gives its memory back when others need it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common.examples import Inputs, count, take, tensors
from ..graph import GraphNetwork, Node
from ..graph.evaluate import computed
from ..graph.moments import inputs_of, walk

IN_MEMORY = 1 << 31  # bytes of feature maps, the most at a time that stay in memory
LEAST = 1 << 16  # bytes of a map that goes to a file


class FeatureMaps:
    """Keeps the feature maps of two runs of a network, each for all calibration inputs.

    :param network: a traced network; not changed.
    :param x: calibration inputs, as `common.examples.arguments` gives them.
    """

    def __init__(self, network: GraphNetwork, x: Inputs) -> None:
        #: Whether maps go to files.
        self.spills = 2 * count(x) * bytes_of_an_example(network, x) > IN_MEMORY

    def kept(self, value: Any, node: Node, values: Any) -> Any:
        """The value of a node as it is kept.

        :param values: of the nodes that it takes, which may share memory with it.
        :raises OSError: the folder for temporary files is full.
        """
        if not self.spills:
            return value
        if isinstance(value, tuple | list):
            return type(value)(self.kept(part, node, values) for part in value)
        if not isinstance(value, Tensor) or value.nbytes < LEAST:
            return value
        taken = {_memory(t) for ref in node.refs() for t in tensors(values[ref.node])}
        return value if _memory(value) in taken else in_a_file(value)


def in_a_file(value: Tensor) -> Tensor:
    """A copy of a tensor in a temporary file, which goes when the tensor does.

    :raises OSError: the folder for temporary files is full.
    """
    handle, name = tempfile.mkstemp(prefix="bitsback-map-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            value.contiguous().view(torch.uint8).numpy().tofile(file)
        found = torch.from_file(name, shared=True, size=value.numel(), dtype=value.dtype)
    except OSError as error:
        raise OSError(
            f"{path.parent} has no room for feature maps: name another folder by TMPDIR, or give "
            f"fewer calibration inputs ({error.strerror or error})"
        ) from None
    finally:
        path.unlink(missing_ok=True)
    return found.view(value.shape)


@torch.no_grad()
def bytes_of_an_example(network: GraphNetwork, x: Inputs) -> float:
    """The most that the feature maps of one example take at a time."""
    some = take(x, slice(2))
    alive: dict[int, tuple[int, int]] = {}  # bytes, and the last reader, by place in memory
    nodes = network.graph.nodes
    last = {ref.node: i for i, node in enumerate(nodes) for ref in node.refs()}
    place = {node: i for i, node in enumerate(nodes)}
    most = 0

    def compute(node: Node, known: Any, device: torch.device) -> Any:
        nonlocal most
        result, now = computed(node, known, device), place[node]
        for part in tensors(result):
            end = max(last.get(node, now), alive.get(_memory(part), (0, 0))[1])
            alive[_memory(part)] = part.untyped_storage().nbytes(), end
        most = max(most, sum(size for size, _ in alive.values()))
        for key in [key for key, (_, end) in alive.items() if end <= now]:
            del alive[key]
        return result

    for _ in walk(network, inputs_of(network, some)[0], set(nodes[-1:]), compute):
        pass
    return most / count(some)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
