"""Methods of factorised normals, and of points that share values."""

from .presets import MIXTURE, digits, training
from .spec import Method

LOG_UNIFORM = Method(
    name="log-uniform",
    model="LogUniform",
    guide="MeanFieldNormal",
    prior="p(w) proportional to 1/|w| (improper)",
    paper="Molchanov, Ashukha and Vetrov 2017, Variational Dropout Sparsifies DNNs",
    proper=False,
    defaults=training(100, 2e-3, 10.0),
    networks={
        "lenet-300-100": {
            "epochs": 200,
            "shift": 1,
            "margin_nll": 0.01,
            "margin_error": 0.3,
        },
        "lenet-5-caffe": {
            "pretrain_epochs": 5,
            "epochs": 60,
            "lr": 3e-3,
            "kl_warmup": (0.0, 8.0),
        },
        **digits(300, 2e-2),
    },
)

GAUSSIAN = Method(
    name="gaussian",
    model="Gaussian",
    guide="MeanFieldNormal",
    prior="p(w) = N(0, 0.4^2)",
    paper="Blundell et al. 2015, Weight Uncertainty in Neural Networks (one component)",
    proper=True,
    defaults=training(60, 5e-3, 10.0),
    networks=digits(200, 5e-3),
    model_options={"scale": 0.4},
)

SCALE_MIXTURE = Method(
    name="scale-mixture",
    model="ScaleMixture",
    guide="MeanFieldNormal",
    prior="p(w) = pi N(0, sigma1^2) + (1 - pi) N(0, sigma2^2)",
    paper="Blundell et al. 2015, Weight Uncertainty in Neural Networks",
    proper=True,
    defaults=training(60, 6e-3, 10.0),
    networks=digits(200, 5e-3),
    closed_form=False,
)

SOFT_SHARING = Method(
    name="soft-sharing",
    model="SoftSharing",
    guide="SharedPoints",
    prior="p(w) = a learned mixture of 17 Gaussians, one of them at zero",
    paper="Ullrich, Meeds and Welling 2017, Soft Weight-Sharing for Compression",
    proper=True,
    defaults=training(60, 1e-3),
    networks=digits(200, 5e-3, 0.0),
)

LOG_UNIFORM_MIXTURE = Method(
    name="log-uniform-mixture",
    model="LogUniform",
    guide="MeanFieldNormal",
    prior="p(w) proportional to 1/|w| (improper); E_q[w] drawn to a learned mixture",
    paper="Federici, Ullrich and Welling 2017, Improved Bayesian Compression",
    proper=False,
    defaults=training(30, 1e-3, start_epochs=70),
    networks={
        "lenet-300-100": {"start_epochs": 140, "epochs": 60},
        "lenet-5-caffe": {"pretrain_epochs": 5, "start_epochs": 42, "epochs": 18},
        **digits(90, 5e-3, 0.0, start_epochs=210),
    },
    start="log-uniform",
    model_options={"mixture": MIXTURE},
)
