"""Gates with a price for each weight that an open one lets through."""

from .options import Option
from .presets import digits, training
from .spec import Method

HARD_CONCRETE = Method(
    name="hard-concrete",
    model="HardConcrete",
    guide="HardConcreteGates",
    prior="w = gate base, 1 nat for each weight that an open gate lets through",
    paper="Louizos, Welling and Kingma 2018, Learning Sparse Neural Networks (L0)",
    proper=False,
    defaults=training(100, 2e-3, 10.0),
    networks=digits(200, 1e-2),
    # The published price, 0.1, keeps half of all weights of LeNet-300-100 in 30 epochs.
    model_options={"cost": 1.0},
    options=(
        Option("cost", float, "Nats for each weight that an open gate lets through.", above=0),
    ),
)
