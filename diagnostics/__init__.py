"""What a trained pair is worth: checks of the approximation, predictions and the evidence.

docs/diagnostics.md says of each what it says and what it cannot say.
"""

from .annealing import annealed
from .arviz_data import inference_data, load, save, to_arviz
from .calibration import (
    Calibration,
    Change,
    calibration,
    calibrations,
    change,
    distance_to_uniform,
    pit,
    predict,
)
from .draws import Draws, as_chains, draw
from .evidence import Evidence, elbo, importance_bound, psis_evidence
from .figures import figures
from .khat import khat, khat_by_site
from .laplace import laplace
from .loo import Loo, compare, loo, loo_pit
from .marginals import intervals, ranks, scales
from .psis import Smoothed, psis, threshold, verdict
from .report import report_html
from .tau0 import Tau0, best_tau0, select_tau0
from .vsbc import Vsbc, vsbc

__all__ = [
    "Calibration",
    "Change",
    "Draws",
    "Evidence",
    "Loo",
    "Smoothed",
    "Tau0",
    "Vsbc",
    "annealed",
    "as_chains",
    "best_tau0",
    "calibration",
    "calibrations",
    "change",
    "compare",
    "distance_to_uniform",
    "draw",
    "elbo",
    "figures",
    "importance_bound",
    "inference_data",
    "intervals",
    "khat",
    "khat_by_site",
    "laplace",
    "load",
    "loo",
    "loo_pit",
    "pit",
    "predict",
    "psis",
    "psis_evidence",
    "ranks",
    "report_html",
    "save",
    "scales",
    "select_tau0",
    "threshold",
    "to_arviz",
    "verdict",
    "vsbc",
]
