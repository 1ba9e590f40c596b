"""Methods whose scales are shared by whole units, and the same with a learned mixture."""

from .presets import MIXTURE, digits, training
from .spec import Method

DEFAULTS, DIGITS = training(30, 2e-3, 10.0), digits(300, 2e-2)
# Base of an unneeded weight in a live unit returns to N(0, 1), noise that costs accuracy.
_CAPPED = {"max_scale": 0.4}
_BC = "Louizos, Ullrich and Welling 2017, Bayesian Compression for Deep Learning"
_WITH_MIXTURE = "the groups of Louizos et al. 2017 with the mixture of Federici et al. 2017"

NORMAL_JEFFREYS = Method(
    name="normal-jeffreys",
    model="NormalJeffreys",
    guide="NormalJeffreys",
    prior="w = z base, p(z) proportional to 1/|z| for each unit (improper), base ~ N(0, 1)",
    paper=f"{_BC} (GNJ)",
    proper=False,
    defaults=DEFAULTS,
    networks=DIGITS,
    guide_options=_CAPPED,
)

HORSESHOE = Method(
    name="horseshoe",
    model="Horseshoe",
    guide="Horseshoe",
    prior="w = z s base, z ~ C+(0, 1) for each unit, s ~ C+(0, 1e-5), base ~ N(0, 1)",
    paper=f"{_BC} (GHS)",
    proper=True,
    defaults=DEFAULTS,
    networks=DIGITS,
    guide_options=_CAPPED,
)

NORMAL_JEFFREYS_MIXTURE = Method(
    name="normal-jeffreys-mixture",
    model="NormalJeffreys",
    guide="NormalJeffreys",
    prior="normal-jeffreys; E_q[w] drawn to a learned mixture",
    paper=_WITH_MIXTURE,
    proper=False,
    defaults=DEFAULTS,
    networks=DIGITS,
    model_options={"mixture": MIXTURE},
    guide_options=_CAPPED,
)

HORSESHOE_MIXTURE = Method(
    name="horseshoe-mixture",
    model="Horseshoe",
    guide="Horseshoe",
    prior="horseshoe; E_q[w] drawn to a learned mixture",
    paper=_WITH_MIXTURE,
    proper=True,
    defaults=DEFAULTS,
    networks=DIGITS,
    model_options={"mixture": MIXTURE},
    guide_options=_CAPPED,
)
