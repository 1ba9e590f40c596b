"""Which objectives may ask for the log density of a weight that a layer has drawn locally.

A layer that draws activations never had a draw of the weight. The weight's log density is then that
of another, independent draw. A sum of log densities is right in expectation all the same. An
importance weight, the exponential of such a sum, is not: it estimates the product of E_q p(y_n | w)
over the examples, which is above the evidence.
"""

import sys

from pyro.infer import (
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)

# Means of log densities. Not their subclasses, which may weigh draws (TraceTailAdaptive_ELBO does).
_LINEAR = {
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    JitTrace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    Trace_ELBO,
}


def refuse_all_but_sums() -> None:
    """Raise unless the caller is one of Pyro's objectives that add log densities up.

    :raises RuntimeError: for importance weights and whatever else could be one.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if type(frame.f_locals.get("self")) in _LINEAR:
            return
        frame = frame.f_back
    raise RuntimeError(
        "a layer has drawn its activations from this locally reparameterized weight, so the "
        "weight's log density is that of another draw: importance weights (RenyiELBO, Importance, "
        "ReweightedWakeSleep, TraceTMC_ELBO, a loss of one's own) would be above the evidence. "
        "Build the guide with local_reparameterization=False, or train with bitsback.ELBO, "
        "TraceMeanField_ELBO or Trace_ELBO"
    )
