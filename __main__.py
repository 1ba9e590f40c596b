"""`python -m bitsback` is the `bitsback` command."""

from .workbench.cli import main

main()
