"""`bitsback tau0`: the options of a sweep over the prior's scale."""

from pathlib import Path
from typing import Annotated

import typer

from ..methods import SWEPT
from . import commands
from .common_options import REFERENCE_DATA, REFERENCE_NETWORKS, DataDir, Json, Quiet
from .one_line import one_line
from .settings import Settings, positive_numbers


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(tau0)


@one_line
def tau0(
    data: Annotated[
        str, typer.Option(metavar="D", help=f"Reference data set: {REFERENCE_DATA}.")
    ] = "digits",
    network: Annotated[
        str | None, typer.Option(metavar="N", help=f"Reference network: {REFERENCE_NETWORKS}.")
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(metavar="V", help="Values of tau0, as in 1e-6,1e-3,0.1. Default: 12 of them."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the data for each value; three in four are shared by all."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of all that is random.")] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep each finished value in DIR; go on from those."),
    ] = None,
    units: Annotated[
        float | None,
        typer.Option(
            help="Try the tau0 under which so many units are expected above --level, too."
        ),
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Scale of a unit, in the weights' units, for --units.")
    ] = None,
    learn: Annotated[
        str, typer.Option(help="The tau0 that is learned at the end: global, or one a layer.")
    ] = "global",
    engine: Annotated[
        str,
        typer.Option(
            help="Where values are trained: processes (local), here (in this one), or ray."
        ),
    ] = "processes",
    jobs: Annotated[
        int | None, typer.Option(help="Local processes at a time. Default: one a core.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer draws; compress without retraining, 16 values a layer."
        ),
    ] = False,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The plot (PNG).")] = Path("tau0.png"),
    data_dir: DataDir = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """The prior's scale tau0: bound on the evidence, validation figures, bytes of each value."""
    settings = Settings(
        data=data,
        network=network,
        method=SWEPT,
        epochs=epochs,
        seed=seed,
        resume=resume,
        data_dir=data_dir,
        quiet=quiet,
    )
    numbers = None if values is None else positive_numbers("--values", values)
    search = {"engine": engine, "jobs": jobs, "quick": quick, "learn": learn}
    commands.tau0(settings, numbers, out, json, search, (units, level))
