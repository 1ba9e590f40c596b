"""What a network does differently in training mode, and the table can say: noise.

`trace` exports a network in eval mode. Dropout modules and calls of dropout stay in that program
with their rates. Noise behind an `if self.training` does not: dropout of attention, stochastic
depth, and code of the user's own. Such modules are found here, to be exported once more in training
mode. `trace` takes that graph if it computes the same in eval mode, where noise is left out.
"""

from __future__ import annotations

import inspect
from types import CodeType

from torch import nn


def switching(net: nn.Module) -> list[nn.Module]:
    """The modules whose code may do something else in training mode than rows of the table say.

    Those are attention with dropout, and modules of any class outside of `torch.nn` that reads
    `training`.
    """
    return [module for module in net.modules() if _switches(module)]


def _switches(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention) and module.dropout > 0:
        return True
    own = [kind for kind in type(module).__mro__ if not kind.__module__.startswith("torch.")]
    functions = [inspect.unwrap(f) for kind in own for f in vars(kind).values() if callable(f)]
    return any(_mentions(f.__code__) for f in functions if hasattr(f, "__code__"))


def _mentions(code: CodeType) -> bool:
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return "training" in code.co_names or any(map(_mentions, inner))
