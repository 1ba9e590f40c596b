"""Sites as variables of a data set that xarray and netCDF can hold: names, axes and units."""

from dataclasses import dataclass

from torch import Tensor

from .draws import Draws
from .marginals import scales
from .traces import LABELS

# Names of axes, and of the labels, that a variable must not have: it would be dropped.
_RESERVED = ("chain", "draw", "example", "sample", LABELS)
_DIMENSIONLESS = (".local", ".local.gamma", ".local.inverse_gamma", ".inverse_gamma", ".gate")


@dataclass(frozen=True)
class Variable:
    """One variable.

    :param values: shape `(S, *site shape)`.
    :param site: the site that it is of, or the horseshoe's scale that its factors make.
    :param axes: a name for each axis of a draw, each of one size in the whole data set.
    :param units: of the values; "1" for pure numbers.
    """

    values: Tensor
    site: str
    axes: tuple[str, ...]
    units: str


def variables_of(draws: Draws) -> dict[str, Variable]:
    """The sites of draws, and the horseshoe's scales, by names that nothing else has.

    "/" becomes "_", since it separates groups; a name that an axis or another site has already
    gets a "_" behind it.
    """
    values = {**draws.values, **scales(draws)}
    axes = {site: _axes(draws, site, value.dim() - 1) for site, value in values.items()}
    taken = {*_RESERVED}
    plain = {
        a: _plain(a, taken) for a in dict.fromkeys(a for names in axes.values() for a in names)
    }
    found = {}
    for site, value in values.items():
        named = tuple(plain[axis] for axis in axes[site])
        found[_plain(site, taken)] = Variable(value, site, named, _units(site))
    return found


def _axes(draws: Draws, site: str, count: int) -> tuple[str, ...]:
    for alike in (site, f"{site}.inverse_gamma", f"{site}.gamma"):  # a scale lies as its factors do
        if alike in draws.axes:
            return draws.axes[alike]
    return tuple(f"{site}_dim_{axis}" for axis in range(count))


def _plain(name: str, taken: set[str]) -> str:
    """A name without "/" that is not taken yet, and now is."""
    name = name.replace("/", "_")
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _units(site: str) -> str:
    if site.endswith(_DIMENSIONLESS):
        return "1"
    return "the weight's squared" if site.endswith(".gamma") else "the weight's"
