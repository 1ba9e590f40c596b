"""What a trained pair is worth: checks of the approximation, predictions and the evidence.

docs/diagnostics.md says of each what it says and what it cannot say.
"""

from .arviz_data import inference_data, load, save, to_arviz
from .draws import Draws, draw
from .khat import khat, khat_by_site
from .loo import Loo, compare, loo
from .psis import Smoothed, psis, threshold, verdict

__all__ = [
    "Draws",
    "Loo",
    "Smoothed",
    "compare",
    "draw",
    "inference_data",
    "khat",
    "khat_by_site",
    "load",
    "loo",
    "psis",
    "save",
    "threshold",
    "to_arviz",
    "verdict",
]
