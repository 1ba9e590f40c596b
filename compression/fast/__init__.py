"""The coder's profile `fast`: the integers of large weight tensors, millions a second.

`loops.py` codes the rows of a matrix, `tables.py` has its tables and where its statistics begin,
`coder.py` has one stream of many tensors, and `model.py` is what the codec uses for a network.
The format is in docs/format.md.
"""
