"""The traced operator graph of any network: what feeds what.

Everything loads on first use, because whoever reads a compressed file into arrays needs the graph
and the operator table, but not torch. So no submodule has the name of one of these.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "BY_NUMBER": "table",
    "OPERATORS": "table",
    "Axes": "axes",
    "Contraction": "facts",
    "Evaluation": "evaluate",
    "Facts": "facts",
    "Graph": "ir",
    "GraphNetwork": "network",
    "InputMoments": "moments",
    "Moments": "moments",
    "Node": "ir",
    "Orders": "order",
    "Plan": "removal",
    "Reduction": "removal",
    "Ref": "ir",
    "Untraceable": "errors",
    "as_matrix": "products",
    "contraction_of": "facts",
    "factorise": "rewrite",
    "fan_in": "parameter_roles",
    "fold": "folding",
    "fold_shifts": "shifts",
    "from_matrix": "products",
    "input_moments": "moments",
    "join_quantised_relus": "rewrite",
    "output_moments": "moments_of_outputs",
    "parameters_of": "network",
    "pick_inputs": "picks",
    "quantise_relus": "rewrite",
    "relu_names": "rewrite",
    "remove_units": "removal",
    "roles": "parameter_roles",
    "trace": "tracing",
    "weight_names": "parameter_roles",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
