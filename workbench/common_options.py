"""Options that several commands have, each written once."""

from pathlib import Path
from typing import Annotated

import typer

from .names import DATASET_NAMES, NETWORK_NAMES

Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; '-' is stdout."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder to search first for the data set's files."),
]
REFERENCE_DATA, REFERENCE_NETWORKS = ", ".join(DATASET_NAMES), ", ".join(NETWORK_NAMES)
Data = Annotated[
    str,
    typer.Option(
        metavar="D",
        help=f"A data set ({REFERENCE_DATA}); or FILE.npz (x_train, y_train, ...), FILE.csv or "
        "FILE.parquet with --target, a folder of images by class, or FILE.py:NAME or MODULE:NAME "
        "of a function that returns torch Datasets or DataLoaders.",
    ),
]
Target = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of a table that holds the labels.")
]
LikelihoodName = Annotated[
    str | None,
    typer.Option(
        "--likelihood",
        metavar="L",
        help="What labels are: categorical (classes; the default for whole numbers), bernoulli "
        "(one or more labels of 0 or 1), or normal (regression).",
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Folder of images: scale shorter sides to N pixels, cut the middle N x N."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="FACTORY",
        help="A network of your own: FILE.py:NAME or MODULE:NAME of a function or class that "
        "returns an nn.Module.",
    ),
]
ModelArgs = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="Arguments of --model's factory: an object or an array."),
]
CompressedFile = Annotated[Path, typer.Argument(metavar="FILE", help="A compressed network.")]
Coder = Annotated[
    str | None,
    typer.Option(
        metavar="P",
        help="Entropy coder: small (fewest bytes), fast (large networks in seconds), or huffman "
        "(the published CSR format). Default: small, and fast from 1,048,576 weights on.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
