"""Baselines: points of maximum a posteriori, pruned by size, curvature or dropout."""

from .options import Option
from .presets import POINTS, POINTS_DIGITS, training
from .spec import Method

SHARE = (
    Option(
        "kept", float, "Share of the weights that is kept. Default: 0.1.",
        above=0.0, below=1.0, kept=True,
    ),
    Option("rounds", int, "Prune and retrain so many times. Default: 1.", least=1, kept=True),
)  # fmt: skip

DETERMINISTIC = Method(
    name="deterministic",
    model="Gaussian",
    guide="PointMass",
    prior="p(w) = N(0, 1): L2 regularisation",
    paper="maximum a posteriori; the baseline, and the start of the other methods",
    proper=True,
    defaults=training(20, 1e-3, pretrain_epochs=0),
    networks={"digits-mlp": {"epochs": 40, "batch_size": 64}},
    model_options={"scale": 1.0},
)

MAGNITUDE = Method(
    name="magnitude",
    model="Gaussian",
    guide="MagnitudePruned",
    prior="p(w) = N(0, 1): L2 regularisation",
    paper="Han et al. 2015, Learning both Weights and Connections",
    proper=True,
    defaults=POINTS,
    networks=POINTS_DIGITS,
    model_options={"scale": 1.0},
    guide_options={"kept": 0.1, "per_layer": False},
    options=SHARE,
    of_guide=("kept", "rounds"),
)

MAGNITUDE_L1 = Method(
    name="magnitude-l1",
    model="Laplace",
    guide="MagnitudePruned",
    prior="p(w) = Laplace(0, 5500 / num_data): L1 regularisation",
    paper="Han et al. 2015, Learning both Weights and Connections",
    proper=True,
    defaults=training(30, 3e-3),
    networks=POINTS_DIGITS,
    guide_options={"kept": 0.1, "per_layer": False},
    options=SHARE,
    of_guide=("kept", "rounds"),
    l1=1 / 5500,  # a scale of 0.1 for the 55,000 training images of MNIST
)

OBD = Method(
    name="obd",
    model="Gaussian",
    guide="DiagonalLaplace",
    prior="p(w) = N(0, 1): L2 regularisation",
    paper="LeCun, Denker and Solla 1990, Optimal Brain Damage",
    proper=True,
    defaults=POINTS,
    networks=POINTS_DIGITS,
    model_options={"scale": 1.0},
)

DROPOUT = Method(
    name="dropout",
    model="Gaussian",
    guide="BernoulliDropout",
    prior="p(w) = N(0, 1): L2 regularisation",
    paper="Gal and Ghahramani 2016, Dropout as a Bayesian Approximation",
    proper=True,
    defaults=POINTS,
    networks=POINTS_DIGITS,
    model_options={"scale": 1.0},
    guide_options={"p": 0.3, "first": 0.0},
)

LOW_RANK = Method(
    name="low-rank",
    model="Gaussian",
    guide="LowRank",
    prior="p(w) = N(0, 1) of the product: L2 regularisation",
    paper="Denton et al. 2014, Exploiting Linear Structure Within Convolutional Networks",
    proper=True,
    defaults=POINTS,
    networks=POINTS_DIGITS,
    model_options={"scale": 1.0},
)

RANDOM_PROJECTION = Method(
    name="random-projection",
    model="Gaussian",
    guide="RandomProjection",
    prior="p(w) = N(0, 1) of the product: L2 regularisation",
    paper="Achlioptas 2003, Database-friendly random projections; the reviews of Han 2015",
    proper=True,
    defaults=POINTS,
    networks=POINTS_DIGITS,
    model_options={"scale": 1.0},
)
