"""What must hold of any network and of what removal makes of it."""

import copy
from typing import Any

import numpy as np
import torch
from bitsback.graph import Axes, Evaluation, Facts, GraphNetwork, Node, Ref, parameters_of
from bitsback.graph.evaluate import BATCH
from bitsback.graph.ir import INPUT, PARAMETER
from bitsback.graph.operators import Family
from bitsback.graph.removal import Reduction, remove_units
from bitsback.graph.table import OPERATORS
from torch import Tensor, nn


def call(net: nn.Module, x: Any) -> Any:
    if isinstance(x, dict):
        return net(**x)
    return net(*x) if isinstance(x, tuple) else net(x)


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [leaf for part in parts for leaf in leaves(part)]


def assert_same(a: Any, b: Any, tolerance: float = 1e-4) -> None:
    """Equal outputs, up to a tolerance relative to the largest number."""
    a, b = ([leaf.detach() for leaf in leaves(value)] for value in (a, b))
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert left.shape == right.shape
        assert left.dtype == right.dtype
        scale = float(left.double().abs().max()) if left.numel() else 0.0
        assert torch.allclose(
            left, right, rtol=0, atol=tolerance * max(scale, 1.0), equal_nan=True
        ), float((left - right).abs().max())


def weights_in(network: GraphNetwork) -> int:
    return sum(tensor.numel() for _, tensor in parameters_of(network))


def compute(
    network: GraphNetwork, inputs: list[Tensor], changed: dict[Ref, Tensor] | None = None
) -> dict[Ref, Any]:
    """All values of a graph, computed plainly; `changed` adds something to values."""
    values: dict[Ref, Any] = {}
    tensors, given = dict(parameters_of(network)), iter(inputs)

    def get(value: Any) -> Any:
        if isinstance(value, Ref):
            return values[value]
        return tuple(map(get, value)) if isinstance(value, tuple) else value

    for node in network.graph.nodes:
        if node.operator == INPUT:
            result = next(given)
        elif node.operator == PARAMETER:
            result = tensors[node.name].detach()
        else:
            row = OPERATORS[node.operator]
            extra = [torch.device("cpu")] if row.family is Family.FACTORY else []
            result = row.call(*map(get, node.arguments.values()), *extra)
        parts = result if isinstance(result, tuple | list) else (result,)
        for index, part in enumerate(parts):
            ref = Ref(node, index)
            if changed and ref in changed:
                part = part + changed[ref]
            values[ref] = part
    return values


def check_facts(network: GraphNetwork, inputs: list[Tensor], tolerance: float = 1e-4) -> None:
    """Constants are what they are said to be, and nothing depends on what is not read."""
    facts = Facts(Evaluation(network))
    inputs = [x[torch.arange(BATCH) % len(x)] for x in inputs]
    with torch.no_grad():
        values = compute(network, inputs)
        _check_constants(facts, values, tolerance)
        outputs = [values[ref] for ref in network.graph.output_refs()]
        for node in network.graph.operators:
            for index in range(facts.evaluation.results(node)):
                _check_reads(network, facts, Ref(node, index), values, inputs, outputs, tolerance)


def _check_constants(facts: Facts, values: dict[Ref, Any], tolerance: float) -> None:
    for ref, value in values.items():
        fact = None if facts.evaluation.is_static(ref) else facts.fact(ref)
        if fact is not None:
            known, number = fact.known.expand(value.shape), fact.value.expand(value.shape)
            error = (value.double() - number.double())[known].abs()
            scale = 1 + float(number[known].double().abs().max())
            assert float(error.max()) <= tolerance * scale, (ref, float(error.max()))


def _check_reads(network, facts, ref, values, inputs, outputs, tolerance) -> None:
    value = values[ref]
    if facts.evaluation.is_static(ref) or not isinstance(value, Tensor):
        return
    if not value.is_floating_point():
        return
    read = facts.read_of(ref)
    read = torch.zeros_like(value, dtype=torch.bool) if read is None else read.expand(value.shape)
    if bool(read.all()):
        return
    noise = torch.where(read, 0, torch.rand_like(value) + 0.5)
    again = compute(network, inputs, {ref: noise})
    for before, after in zip(outputs, (again[r] for r in network.graph.output_refs()), strict=True):
        scale = 1 + float(before.double().abs().max())
        error = float((before.double() - after.double()).abs().max())
        assert error <= tolerance * scale, (ref, error)


def check_removal(
    network: GraphNetwork, x: Any, zeros_only: bool = False, tolerance: float = 1e-4
) -> Reduction:
    """Remove units, and check all that must hold of the result."""
    before = {name: tensor.detach().clone() for name, tensor in parameters_of(network)}
    reduction = remove_units(network, zeros_only)
    small = reduction.network
    with torch.no_grad():
        assert_same(call(network, x), call(small, x), tolerance)
    after = dict(parameters_of(small))
    assert weights_in(small) <= weights_in(network) + _new_biases(before, after)
    for name, tensor in parameters_of(network):
        assert torch.equal(tensor, before[name]), name
    _check_kept(reduction, before, after, zeros_only)
    assert remove_units(small, zeros_only).units == 0
    _check_module(small, x, tolerance)
    return reduction


def _new_biases(before: dict, after: dict) -> int:
    return sum(t.numel() for name, t in after.items() if name not in before)


def _check_kept(reduction: Reduction, before: dict, after: dict, zeros_only: bool) -> None:
    for name, tensor in after.items():
        if name not in before:
            assert not zeros_only
            continue
        part = before[name]
        for axis, places in enumerate(reduction.kept.get(name, ())):
            if places is not None:
                assert places.dtype == np.int64
                part = part.index_select(axis, torch.from_numpy(places))
        assert part.shape == tensor.shape, name
        if part.dim() > 1 or zeros_only:
            assert torch.equal(part, tensor), name
        if name not in reduction.kept:
            assert tensor.shape == before[name].shape


def _check_module(small: GraphNetwork, x: Any, tolerance: float) -> None:
    """It is a module like others: it trains, is copied, and is stored."""
    twin = copy.deepcopy(small)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor.zero_()
        twin.load_state_dict(small.state_dict())
        assert_same(call(small, x), call(twin, x), tolerance)
    twin.train()
    for leaf in leaves(call(twin, x)):
        assert leaf.dtype.is_floating_point
    total = sum(leaf.double().nan_to_num().sum() for leaf in leaves(call(twin, x)))
    if total.requires_grad:
        total.backward()


def kill(network: GraphNetwork, share: float, generator: torch.Generator) -> list[int]:
    """Make units dead: all parameters that have them are zero there. The units, as numbers."""
    axes = Axes(Evaluation(network))
    count = len(axes.units)
    every = np.arange(count)
    roots = np.flatnonzero((axes.units.find(every) == every) & ~axes.units.is_frozen(every))
    chosen = roots[(torch.rand(len(roots), generator=generator) < share).numpy()]
    with torch.no_grad():
        for name, tensor in parameters_of(network):
            node = next(n for n in network.graph.parameters if n.name == name)
            _zero(tensor, axes.ids(Ref(node)), chosen, name)
    return chosen.tolist()


def _zero(tensor: Tensor, axes: list, chosen: np.ndarray, name: str) -> None:
    for axis, ids in enumerate(axes):
        if ids is not None and tensor.is_floating_point():
            dead = torch.from_numpy(np.flatnonzero(np.isin(ids, chosen)))
            tensor.index_fill_(axis, dead, 1.0 if name.endswith("running_var") else 0.0)


def parameter(network: GraphNetwork, name: str) -> Node:
    return next(node for node in network.graph.parameters if node.name == name)
