"""Every byte of a packed file is accounted for."""

import numpy as np
import pytest
from bitsback.compression import file

from .samples import packed, weights


@pytest.mark.parametrize("error", [None, 0.4])
def test_every_byte_is_accounted_for(error):
    tensors = weights()
    data = packed(tensors, error)
    report = file.inspect(data)
    assert report["bytes"] == len(data) == sum(report["items"].values())
    assert report["tensors"] == len(tensors) and report["version"] == 5
    form = "byte planes" if error is None else "integers"
    large = {layer["name"]: layer for layer in report["layers"]}
    assert large.keys() == {"conv.weight", "fc.weight"}
    assert {layer["form"] for layer in large.values()} == {form}
    assert sum(layer["bytes"] for layer in large.values()) == report["items"][form]
    if error is None:
        kept = np.count_nonzero(tensors["conv.weight"].numpy())
        assert large["conv.weight"]["kept"] == kept == large["conv.weight"]["total"]
