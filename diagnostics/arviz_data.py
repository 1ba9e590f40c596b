"""The one place that knows ArviZ: any trained pair as its data structure, and files of it.

Works with ArviZ 0.23 (an `InferenceData`) and 1.x (an `xarray.DataTree`). Importing ArviZ takes
seconds, so that each function does it for itself.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pyro.infer import MCMC
from torch import Tensor, nn

from .draws import Draws, draw
from .traces import LABELS
from .variables import variables_of


def to_arviz(
    model: nn.Module,
    source: Callable | MCMC | Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    num_samples: int = 1000,
    pseudo_chains: int = 1,
    **kwargs: Any,
):
    """Draws of a trained pair for ArviZ: `draw` with predictions, then `inference_data`.

    :param model: a model of `bitsback.models`.
    :param source: a guide, a finished `MCMC`, or draws by site; see `draw`.
    :param x: inputs, shape `(N, ...)`.
    :param y: labels, shape `(N, ...)`.
    :param num_samples: draws from a guide.
    :param pseudo_chains: see `inference_data`.
    :param kwargs: others of `draw` (`batch_size`, `sites`).
    :returns: ArviZ's container; `inference_data` says what is in it.
    """
    draws = draw(model, source, x, y, num_samples, predict=True, **kwargs)
    attributes = {
        "inference": "mcmc" if draws.exact else "svi",
        "method": type(model).__name__,
        "guide": type(source).__name__,
    }
    tau0 = getattr(model, "tau0", None)
    if isinstance(tau0, int | float):
        attributes |= {"tau0": float(tau0), "tau0_units": "the weight's"}
    return inference_data(draws, y, attributes, _diverging(source), pseudo_chains)


def _diverging(source) -> Tensor | None:
    """Which draws a Hamiltonian sampler's trajectory diverged at, shape `(chains, draws)`."""
    if not isinstance(source, MCMC):
        return None
    chains = source.diagnostics().get("divergences")  # by chain, the numbers of the draws
    if chains is None:
        return None
    count = len(next(iter(source.get_samples(group_by_chain=True).values()))[0])
    diverging = torch.zeros(len(chains), count, dtype=torch.bool)
    for chain, places in enumerate(chains.values()):
        diverging[chain, places] = True
    return diverging


def inference_data(
    draws: Draws,
    y: Tensor,
    attributes: Mapping[str, str | float] | None = None,
    diverging: Tensor | None = None,
    pseudo_chains: int = 1,
):
    """Draws as ArviZ's container.

    Groups: `posterior` (latent sites, effective weights, and the scales that the horseshoe's
    factors make), `log_likelihood` (of each example, dimension `example`), `posterior_predictive`
    (if drawn), `observed_data`, and `sample_stats` with `log_p` = log p(w, y | x) and `log_q` =
    log q(w), in nats, where they exist. Each variable has its `units` and, in `posterior`, its
    `site` as attributes: names that ArviZ or netCDF has itself (`chain`, "/") get another one.

    A guide's draws are one chain of independent draws: their R-hat and effective sample size say
    nothing. (Of several restarts, joined by `as_chains`, R-hat says whether they ended at the same
    place.) Functions of ArviZ 1.x that want several chains, such as `plot_rank`, take
    `pseudo_chains=4`: the same draws, cut into four.

    :param draws: from `draw`, or from `as_chains`.
    :param y: the labels, shape `(N, ...)`; `(N, 1)` is kept as `(N,)`.
    :param attributes: strings and numbers to keep with it.
    :param diverging: which draws diverged, shape `(chains, draws)`; `sample_stats` has it.
    :param pseudo_chains: into how many chains to cut one chain of a guide's draws.
    :raises ValueError: for pseudo-chains of MCMC or of several chains, or of unequal lengths.
    """
    variables, chains = variables_of(draws), _chains(draws, pseudo_chains)
    sampled, y = _sampled(draws, y, diverging)
    sampled["posterior"] = {name: variable.values for name, variable in variables.items()}
    groups = {
        group: {name: _by_chain(value, chains) for name, value in values.items()}
        for group, values in sampled.items()
        if values
    }
    groups["observed_data"] = {LABELS: _array(y)}
    attributes = {**(attributes or {}), **({"no_log_ratio": draws.why} if draws.why else {})}
    if pseudo_chains > 1:
        attributes["pseudo_chains"] = pseudo_chains
    dims = {name: list(variable.axes) for name, variable in variables.items()}
    data = _container(groups, {LABELS: ["example"], **dims}, attributes)
    for name, variable in variables.items():
        data["posterior"][name].attrs.update(site=variable.site, units=variable.units)
    for group in ("log_likelihood", "sample_stats"):
        for name in sampled[group]:
            data[group][name].attrs["units"] = "1" if name == "diverging" else "nats"
    return data


def _sampled(draws: Draws, y: Tensor, diverging: Tensor | None) -> tuple[dict, Tensor]:
    """The groups of one value a draw but the posterior's, each shape `(S, ...)`, and the labels."""
    stats = {} if diverging is None else {"diverging": diverging.flatten()}
    if draws.log_prior is not None:
        stats["log_p"] = draws.log_joint
    if draws.log_q is not None:
        stats["log_q"] = draws.log_q
    predictions = draws.predictions
    if y.dim() == 2 and y.shape[1] == 1:  # LOO-PIT wants labels of the likelihood's shape
        y, predictions = y[:, 0], None if predictions is None else predictions[..., 0]
    sampled = {
        "posterior_predictive": {} if predictions is None else {LABELS: predictions},
        "log_likelihood": {LABELS: draws.log_likelihood},
        "sample_stats": stats,
    }
    return sampled, y


def _chains(draws: Draws, pseudo_chains: int) -> int:
    if pseudo_chains == 1:
        return draws.chains
    count = len(draws.log_likelihood)
    if draws.exact or draws.chains > 1:
        raise ValueError("pseudo_chains cuts one chain of a guide's draws; these have their own")
    if pseudo_chains < 1 or count % pseudo_chains:
        raise ValueError(f"{count} draws cannot be cut into {pseudo_chains} chains of equal length")
    return pseudo_chains


def save(data, path: str | Path) -> None:
    """Write ArviZ's container to a netCDF file."""
    data.to_netcdf(str(path))


def load(path: str | Path):
    """ArviZ's container from a netCDF file, read into memory; each version reads the other's.

    :raises OSError: for a file that is not there.
    :raises ValueError: for one that is no netCDF, with ArviZ 1.x; with 0.23 an OSError.
    """
    import arviz

    if not _is_new(arviz):  # it leaves a file open whose groups are read later
        with arviz.rc_context({"data.load": "eager"}):
            return arviz.from_netcdf(str(path))
    data = arviz.from_netcdf(str(path))
    data.load()
    data.close()
    return data


def _is_new(arviz) -> bool:
    return int(arviz.__version__.split(".")[0]) >= 1


def _container(groups: dict, dims: dict, attributes: dict):
    import arviz

    if _is_new(arviz):
        return arviz.from_dict(groups, dims=dims, attrs={"/": attributes})
    data = arviz.from_dict(**groups, dims=dims)
    data.attrs.update(attributes)
    return data


def _array(value: Tensor):
    return torch.clone(value).detach().cpu().numpy()


def _by_chain(value: Tensor, chains: int):
    """(S, ...) as (chains, S / chains, ...)."""
    return _array(value).reshape(chains, -1, *value.shape[1:])
