"""Every test starts from the same state: an empty parameter store, seed 0, validation on."""

import pyro
import pytest
import torch
from hypothesis import settings

# The same examples in every run, whatever the machine's speed.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# Networks in the tests are tiny: more threads only add noise to the time they take.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_state():
    """No parameter, random state or default type of one test reaches the next."""
    pyro.clear_param_store()
    pyro.enable_validation(True)
    pyro.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
