"""The methods' own options on the command line, made from their specifications."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..methods import DEFAULT, METHODS
from ..methods.options import Option

# Each name once; several methods may have an option of one name, with a help text of their own.
OPTIONS: dict[str, Option] = {
    option.name: option for method in METHODS.values() for option in method.options
}


def with_method_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose `**options` are now the options of all methods."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [_parameter(option) for option in OPTIONS.values()]
    command.__signature__ = signature.replace(parameters=[*own, *more])
    return command


def parsed_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were typed, with those that were not given left out.

    :raises ValueError: for text that is no value of its option.
    """
    given = {name: value for name, value in values.items() if value is not None}
    return {
        name: OPTIONS[name].parsed(value) if OPTIONS[name].kind is tuple else value
        for name, value in given.items()
    }


class MethodCommand(TyperCommand):
    """A command whose help shows the options of the method asked for, and of no other."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        """See click; the method is looked for first, as --help ends the parsing."""
        method = METHODS.get(_method_in(args), METHODS[DEFAULT])
        helps = {option.name: option.help for option in method.options}
        for parameter in self.params:
            if parameter.name in OPTIONS:
                parameter.hidden = parameter.name not in helps
                parameter.help = helps.get(parameter.name)
        return super().parse_args(ctx, args)


def _method_in(args: list[str]) -> str:
    """The value of --method among arguments; the default if it is not there."""
    for place, argument in enumerate(args):
        if argument == "--method" and place + 1 < len(args):
            return args[place + 1]
        if argument.startswith("--method="):
            return argument.removeprefix("--method=")
    return DEFAULT


def _parameter(option: Option) -> inspect.Parameter:
    flag = option.kind is bool
    kind = bool if flag else (str if option.kind is tuple else option.kind) | None
    info = typer.Option(option.flag, help=option.help)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if flag else None,
        annotation=Annotated[kind, info],
    )
