"""The network that several methods start from: trained by maximum a posteriori, kept in a file."""

import os
from pathlib import Path

import bitsback
import torch
from bitsback.methods import METHODS, PRETRAINING
from bitsback.training import Options, fit
from bitsback.workbench.data import load_data
from safetensors.torch import save_file


def start_of(
    path: Path, network: str, data_name: str, options: Options, data_dir: Path | None = None
) -> Path:
    """The file of the trained network's state_dict; it is trained if there is none.

    :param options: of the training; the network begins at their seed.
    :returns: `path`.
    """
    if path.exists():
        return path
    torch.set_num_threads(1)
    data = load_data(data_name, data_dir)
    torch.manual_seed(options.seed)
    model, guide = METHODS[PRETRAINING].pair(bitsback.network(network), len(data.train))
    fit(model, guide, (data.train.x, data.train.y), options=options)
    state = model.trained().state_dict()
    for name, weight in guide.posterior().weights.items():
        state[name].copy_(weight.loc)
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(state, part)
    part.replace(path)  # another run of the seed may have made the same one meanwhile
    return path
