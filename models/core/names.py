"""state_dict names as keys of buffers, ParameterDict and ModuleDict, which take no dots."""

import re


def key(name: str) -> str:
    """A key without dots, another for each name: "__" for a dot.

    An underscore beside a dot or another underscore becomes "%5F", so that `a.b` and `a__b`, or
    `a_.b` and `a._b`, have keys of their own.
    """
    escaped = name.replace("%", "%25")
    escaped = re.sub(r"_(?=[_.])|(?<=[_.])_", "%5F", escaped)
    return escaped.replace(".", "__") or "%"
