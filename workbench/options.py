"""`Options` of `fit`, by the name that published scripts import; see `training.options`."""

from ..training.options import Options

__all__ = ["Options"]
