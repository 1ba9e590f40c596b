"""An option of a method: its name, type, bounds and help. The command line is made from these.

Nothing here loads torch, so that `bitsback compress --help` is fast.
"""

from dataclasses import dataclass
from typing import Any

INFINITY = float("inf")


@dataclass(frozen=True)
class Option:
    """One option of a method.

    :param name: as in Python; on the command line with dashes.
    :param kind: `float`, `int`, `str`, `bool` (a flag), or `tuple` (whole numbers above 0, with
        commas between them).
    :param help: what it does, in a sentence for the command line.
    :param least: the smallest number allowed.
    :param above: numbers must be above it, and finite; `below` likewise.
    :param choices: the words allowed.
    :param kept: whether the pair is made by it: `--save-guide` keeps it and `--load-guide` takes
        it over. Other options make no sense without a training.
    """

    name: str
    kind: type
    help: str
    least: float | None = None
    above: float | None = None
    below: float = INFINITY
    choices: tuple[str, ...] = ()
    kept: bool = False

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any) -> None:
        """Refuse a value out of range.

        :raises ValueError: names the option and says what it must be.
        """
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.flag} {value}: must be one of {', '.join(self.choices)}")
        # "not >=" rather than "<", so that nan is refused too.
        if self.least is not None and not value >= self.least:
            raise ValueError(f"{self.flag} {value}: must be at least {self.least}")
        if self.above is not None and not self.above < value < self.below:
            wanted = f"must be above {self.above:g} and below {self.below:g}"
            if self.above == 0 and self.below == INFINITY:
                wanted = "must be positive and finite"
            raise ValueError(f"{self.flag} {value}: {wanted}")

    def text(self, value: Any) -> str:
        """A value as it is typed, and as `--save-guide` keeps it."""
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def parsed(self, text: str) -> Any:
        """The value of a text.

        :raises ValueError: if the text is none.
        """
        if self.kind is tuple:
            return whole_numbers(self.flag, text)
        return self.kind(text)


def whole_numbers(flag: str, text: str) -> tuple[int, ...]:
    """Whole numbers above 0 with commas between them, such as "2,4,8".

    :raises ValueError: if `text` is anything else.
    """
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 2**31 for part in parts):
        raise ValueError(f"{flag} {text}: must be whole numbers above 0, such as 2,4,8")
    return tuple(int(part) for part in parts)
