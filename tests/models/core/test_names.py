"""Names as keys: another key for each name."""

from itertools import product

from bitsback.models.core.names import key
from torch import nn


def test_ordinary_names_stay_readable():
    assert key("conv_1.weight") == "conv_1__weight"


def test_every_name_has_a_key_of_its_own():
    names = {"".join(p) for n in range(1, 7) for p in product("a._%5", repeat=n)}
    names = {name for name in names if all(name.split("."))}  # no empty part
    assert len({key(name) for name in names}) == len(names) > 10_000
    assert not any("." in key(name) for name in names)


def test_keys_are_those_of_a_parameter_dict():
    keys = {key(name) for name in ("a.b", "a__b", "")}
    assert set(nn.ParameterDict(dict.fromkeys(keys))) == keys == {"a__b", "a%5F%5Fb", "%"}
