"""`torch.export`, run without a trace of it: no noise, no changed flags, errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import linecache
import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from .errors import Untraceable


def export_noisy(
    net: nn.Module, args: tuple, kwargs: dict, batch: int, training: Collection[nn.Module]
) -> Any | None:
    """The exported program with some modules in training mode; None where that fails."""
    try:
        return _exported(net, args, kwargs, batch, training)
    except Exception:  # torch's or the network's own
        return None


def export(net: nn.Module, args: tuple, kwargs: dict, batch: int) -> Any:
    """The exported program of a network, the batch of any size.

    Where `torch.export` fails, `torch.fx` first replaces the network's Python code by what it does
    to its inputs, and that is exported.

    :raises Untraceable: both fail.
    """
    try:
        return _exported(net, args, kwargs, batch)
    except Exception as error:
        first = error
    try:
        with quiet(net):
            plain = torch.fx.symbolic_trace(net)
        return _exported(plain, args, kwargs, batch)
    except Exception:
        raise Untraceable(
            f"{type(net).__name__} cannot be traced{_where(net, first)}: {_line(first)}"
        ) from None


def rewritten(program: Any, known: Callable[[Any], bool]) -> Any:
    """The program without changes in place, and with unknown operators said by others.

    :param known: whether an operator may stay as it is.
    """
    unknown = {
        node.target
        for node in program.graph.nodes
        if node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and not known(node.target)
    }
    ways = torch.export.default_decompositions()
    with _silent():
        return program.run_decompositions({op: ways[op] for op in unknown if op in ways})


def _exported(
    net: nn.Module, args: tuple, kwargs: dict, batch: int, training: Collection[nn.Module] = ()
) -> Any:
    def axes(value: Any) -> Any:
        if isinstance(value, Tensor):
            return {0: torch.export.Dim.DYNAMIC} if value.dim() and len(value) == batch else None
        if isinstance(value, dict):
            return {key: axes(part) for key, part in value.items()}
        if isinstance(value, tuple | list):
            parts = [axes(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return None

    bound = inspect.signature(net.forward).bind(*args, **kwargs).arguments
    with quiet(net, training), _plain_outputs(net), torch.no_grad():
        return torch.export.export(net, args, kwargs, dynamic_shapes=axes(bound), strict=False)


@contextmanager
def quiet(net: nn.Module, training: Collection[nn.Module] = ()) -> Iterator[None]:
    """The network in eval mode, attention in its general form, no warnings; undone after.

    :param training: modules that are put in training mode instead, without those inside of them.
    """
    modes = [(module, module.training) for module in net.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for module, _ in modes:
            module.training = False
        for module in training:
            module.training = True
        with _silent():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in modes:
            module.training = mode


@contextmanager
def _silent() -> Iterator[None]:
    """No warnings, nothing from torch's loggers, and nothing that torch prints."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [(logger, logger.disabled) for logger in (*loggers, *_torch_loggers())]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for logger, _ in levels:
                logger.disabled = True
            yield
        finally:
            for logger, disabled in levels:
                logger.disabled = disabled


# Those that `torch.export` may create while it runs for the first time.
_LOGGERS = (
    "torch.export", "torch._export", "torch._dynamo", "torch.fx.experimental.symbolic_shapes",
    "torch.fx.experimental.recording", "torch._subclasses.fake_tensor", "torch.__trace",
    "torch._export.non_strict_utils", "torch.fx.graph_module",
)  # fmt: skip


def _torch_loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict
    return [
        logger
        for name, logger in known.items()
        if name.partition(".")[0] == "torch" and isinstance(logger, logging.Logger)
    ]


@contextmanager
def _plain_outputs(net: nn.Module) -> Iterator[None]:
    """The network with dictionaries in the place of dataclasses among its outputs."""
    own, forward = net.__dict__.get("forward"), net.forward

    @functools.wraps(forward)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return _plain(forward(*args, **kwargs))

    net.__dict__["forward"] = plain
    try:
        yield
    finally:
        if own is None:
            del net.__dict__["forward"]
        else:
            net.__dict__["forward"] = own


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, dict):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):  # a named tuple
        return {name: _plain(part) for name, part in value._asdict().items()}
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _line(error: BaseException) -> str:
    """The first line of an error that says something."""
    if "Constraints violated" in str(error):
        return "the code works for one number of examples only"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _where(net: nn.Module, error: BaseException | None) -> str:
    """In which module, at which line of its code, an error was raised."""
    # torch wraps modules while it traces; a wrapper shares the module's dictionary.
    names = {id(module.__dict__): name for name, module in net.named_modules()}
    found, seen = "", set()
    while error is not None and id(error) not in seen and not found:
        seen.add(id(error))
        found = _frame_of(names, error.__traceback__)
        error = error.__cause__ or error.__context__
    return found


def _frame_of(names: dict[int, str], trace: TracebackType | None) -> str:
    """The innermost module in a traceback, and its line."""
    found = ""
    while trace is not None:
        frame = trace.tb_frame
        owner = frame.f_locals.get("self")
        name = names.get(id(owner.__dict__)) if isinstance(owner, nn.Module) else None
        if name is not None:
            at = f"in module {name!r}" if name else "in its forward"
            code = linecache.getline(frame.f_code.co_filename, trace.tb_lineno).strip()
            own = frame.f_globals.get("__name__") != nn.Module.__module__
            found = f" {at}, at `{code[:100]}`" if code and own else f" {at}"
        trace = trace.tb_next
    return found
