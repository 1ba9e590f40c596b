"""The support matrix: what it says of a layer is what the graph does."""


def test_rows_exist(tool):
    support = tool("support")
    for name, layer in support.LAYERS.items():
        assert all(operator in support.OPERATORS for operator in layer.operators), name


def test_no_unit_goes_where_none_is_dead(tool):
    """So that a yes under "reduce" is about the units that were made dead."""
    support = tool("support")
    for name, layer in support.LAYERS.items():
        assert not support.loses_units(support.Layer(layer.operators, layer.make, {})), name
