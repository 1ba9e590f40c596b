"""`load_weights`, by the name that published scripts import; see `training.state_dict`."""

from ..training.state_dict import load_weights

__all__ = ["load_weights"]
