"""docs/reference/command-line.md, from the parsers of the commands."""

from typing import Any

import typer
from bitsback.methods import METHODS
from bitsback.workbench.cli import app
from bitsback.workbench.method_options import OPTIONS

HEAD = """\
# The command line

Written by docs/tools/write.py from the parsers; `bitsback COMMAND --help` shows the same.
What the commands print as JSON, and their exit codes, are in [json.md](json.md).
"""


def command_line() -> str:
    """The page."""
    group: Any = typer.main.get_command(app)
    sections = [_command(name, command) for name, command in group.commands.items()]
    return "\n".join([HEAD, *sections, _methods()])


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name not in OPTIONS]
    usage = " ".join(["bitsback", name, *(_placeholder(a) for a in arguments)])
    lines = [f"## {name}", "", _sentences(command.help), "", f"`{usage} [options]`", ""]
    described = [(_placeholder(a), getattr(a, "help", None)) for a in arguments]
    described += [
        (", ".join([*option.opts, *option.secondary_opts]), option.help) for option in options
    ]
    if any(text for _, text in described):
        lines += ["| option | what it does |", "|---|---|"]
        lines += [f"| `{flag}` | {_cell(text)} |" for flag, text in described if text]
    return "\n".join([*lines, ""])


def _placeholder(argument: Any) -> str:
    shown = (argument.metavar or argument.name).strip("[]").upper()
    return shown if argument.required else f"[{shown}]"


def _methods() -> str:
    """The options that some methods have of their own."""
    lines = ["## Options of methods", "", "`bitsback compress --method M` takes those of M.", ""]
    lines += ["| method | option | what it does |", "|---|---|---|"]
    lines += [
        f"| `{method.name}` | `{option.flag}` | {_cell(option.help)} |"
        for method in METHODS.values()
        for option in method.options
    ]
    return "\n".join([*lines, ""])


def _sentences(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str | None) -> str:
    return _sentences(text).replace("|", "\\|")
