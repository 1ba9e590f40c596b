"""The tables of `bitsback compress --dry-run`."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .printable import printable


def print_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """What a run would do; `plan` is the JSON of the command."""
    said = f"{plan['network']} on {plan['data']}, method {plan['method']}: nothing is written"
    console.print(printable(said), highlight=False, markup=False)
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in _rows(plan):
        table.add_row(row[0], Text(printable(row[1])))
    console.print(table)
    if plan["untraced"]:
        console.print(f"no units are removed: {printable(plan['untraced'])}", markup=False)
    else:
        console.print(_outputs(plan))


def _rows(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts = ", ".join(f"{name} {count:,}" for name, count in plan["examples"].items())
    if plan["split"].get("split_off"):
        parts += f"; split off by seed {plan['split']['split_seed']}: "
        parts += ", ".join(plan["split"]["split_off"])
    epochs = ", ".join(f"{phase} {count}" for phase, count in plan["epochs"].items())
    memory = {name: _size(value) for name, value in plan["memory"].items()}
    epoch = plan["seconds_an_update"] * plan["updates_an_epoch"]
    return [
        ("examples", parts),
        ("labels", plan["likelihood"]),
        ("parameters", f"{plan['parameters']:,}, {plan['float32_bytes']:,} bytes as float32"),
        ("get the prior", f"{len(plan['prior'])} tensors, {100 * plan['latent_share']:.1f} %"),
        ("epochs", f"{epochs}; {plan['updates_an_epoch']:,} updates of {plan['batch_size']} each"),
        ("an epoch", f"{_time(epoch)} (measured on a few updates, not compiled)"),
        (
            "training",
            f"about {_time(plan['training_seconds'])}, before the search for the file",
        ),
        (
            "memory",
            f"data {memory['data']}, pair and optimizer {memory['pair_and_optimizer']}, process "
            f"{memory['process']} so far",
        ),
    ]


def _outputs(plan: Mapping[str, Any]) -> Table:
    table = Table()
    for heading in ("outputs of", "units", "can be removed"):
        table.add_column(heading, overflow="fold")
    for found in plan["outputs"]:
        names = printable(", ".join(found["weights"]))
        removable = f"no: {found['obstacle']}" if found["obstacle"] else "yes"
        table.add_row(Text(names), f"{found['units']:,}", Text(printable(removable)))
    return table


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
