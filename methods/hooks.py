"""What a method adds to a run, beside its model and guide. Most methods add nothing.

Nothing here loads torch: reports are written by hooks too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor, nn

    from ..compression.compress import Compressed
    from ..training import Epoch, Options
    from ..training.evaluation import Score, Split
    from .spec import Method


@dataclass(frozen=True)
class Trained:
    """A pair after its rounds of training, and what it was trained with.

    :param train: inputs and labels on the device of the model; `validation` likewise.
    :param history: one entry for each epoch of the last round.
    :param targeted: whether a target moved the pair's price of bits.
    :param phase: the phase's name, for progress lines; "train" for the method's own training.
    :param effort: how long what follows may take, 1 (quick) to 9.
    """

    model: nn.Module
    guide: nn.Module
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    options: Options
    history: Sequence[Epoch]
    targeted: bool
    console: Console
    phase: str
    effort: int


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    :param result: of `compress`.
    :param decoded: the network read from the file.
    :param data: the data set, with its parts `train`, `validation` and `test`.
    :param validation: the score of the compressed network on the validation part.
    """

    guide: nn.Module
    result: Compressed
    decoded: nn.Module
    data: Any
    validation: Score


class Hooks:
    """The places in a run where a method may do something of its own.

    :param method: with the run's options in `given`.
    """

    #: Why KL(q || p) is no code length of the weights, for a method whose prior is proper.
    no_code_length: str | None = None

    def __init__(self, method: Method):
        self.method, self.given = method, method.given

    def check(self) -> None:
        """Refuse options by what needs torch to be known, before any work.

        :raises ValueError: names the option.
        """

    @property
    def overshoots(self) -> bool:
        """Whether the KL's weight may begin above 1; no where a target moves the price of bits."""
        return True

    def prepare(self, model: nn.Module, x: Tensor) -> None:
        """Called with a new model and all training inputs, before any training."""

    def target(
        self, model: nn.Module, guide: nn.Module, validation: Split, options: Options,
        compression: Mapping[str, Any],
    ) -> Callable[[int], None] | None:  # fmt: skip
        """What is called after each epoch to reach what the options ask for; None: nothing.

        :param compression: options of `compress`.
        """
        return None

    def finish(self, trained: Trained) -> None:
        """Called with the pair after its training; may train it further."""

    def figures(self, outcome: Outcome) -> dict[str, Any]:
        """What the run's JSON has beside what all methods have."""
        return {}

    def rows(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Rows of the report's table. One called "description" replaces the description length.

        :param result: the JSON of the run.
        """
        return []

    def remarks(self, result: Mapping[str, Any]) -> list[str]:
        """Sentences below the report's table."""
        return []

    def plot(self, result: Mapping[str, Any]) -> bytes:
        """A PNG of the run, where the method has an option `plot`."""
        raise NotImplementedError(f"method {self.method.name} has no plot")


def percent(value: float) -> str:
    """A number of percent for a report."""
    return f"{value:.2f} %"
