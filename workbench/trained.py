"""Trained pairs and weights, by the names that published scripts import; see `training`."""

from ..training.state_dict import load_weights
from ..training.trained import load_guide, save_guide

__all__ = ["load_guide", "load_weights", "save_guide"]
