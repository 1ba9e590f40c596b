"""One self-contained HTML page about a trained pair: verdicts in words, figures, plots."""

import base64
import html
import io
import math
from collections.abc import Callable, Mapping

import torch
from pyro.infer import MCMC
from torch import Tensor, nn

from .calibration import Calibration, calibrations, distance_to_uniform, has_probabilities, pit
from .draws import Draws, draw
from .evidence import correctable, estimates
from .loo import leave_one_out, loo_pit
from .marginals import intervals, ranks, readable, scales
from .psis import MANY_VALUES, psis, verdict

_MANY_EXAMPLES = 5000  # leave-one-out fits a tail for each
_SMALL_SITE = 20
_MOST_RANK_PLOTS = 6
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse }} td, th {{ padding: .2em .8em; text-align: right }}
td:first-child, th:first-child {{ text-align: left }} img {{ max-width: 100% }}
.limit {{ color: #666 }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def report_html(
    model: nn.Module,
    source: Callable | MCMC | Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    held_out: tuple[Tensor, Tensor] | None = None,
    network: nn.Module | None = None,
    num_samples: int = 500,
    draws: Draws | None = None,
    reference: Draws | None = None,
    site_khats: Mapping[str, float] | None = None,
    classified: Mapping[str, Calibration] | None = None,
) -> str:
    """A page with the k-hat, the evidence, leave-one-out and calibration of a trained pair.

    And forest plots of scales and gates; and rank plots, where there are draws by MCMC.

    What a pair does not have (the evidence under an improper prior, say) the page leaves out, and
    says why. Nothing in it is loaded from elsewhere. Needs matplotlib.

    :param model: a model of `bitsback.models`.
    :param source: a guide, a finished `MCMC`, or draws by site; see `draw`.
    :param x: training inputs, all of them for the evidence and leave-one-out.
    :param y: their labels.
    :param held_out: inputs and labels not trained on, for calibration.
    :param network: the compressed classifier, to compare on `held_out`.
    :param num_samples: draws from a guide.
    :param draws: those to show, made before by `draw` on x and y; default: new ones.
    :param reference: draws by MCMC of the same model, for rank plots of what both have.
    :param site_khats: k-hats by site, if they are known; empty if no site is small enough.
    :param classified: what `calibrations` found on `held_out`, if it is known.
    """
    if draws is None:  # real labels for LOO-PIT
        draws = draw(model, source, x, y, num_samples, predict=y.is_floating_point())
    about = f"Guide {type(source).__name__} of model {type(model).__name__}"
    sections = [
        _text(
            f"{len(draws.log_likelihood)} draws of {draws.latent_values} values, {len(y)} examples."
        ),
        *_approximation(draws),
        *([] if site_khats is None else _sites(site_khats, draws)),
        *_leave_one_out(draws),
        *_loo_pit(draws, y),
        *_posterior(draws),
        *_forests(draws),
        *([] if reference is None else _ranks(draws, reference)),
    ]
    if held_out is not None:
        sections += _held_out(model, source, *held_out, network, classified)
    return _PAGE.format(title=html.escape(about), body="\n".join(sections))


def _approximation(draws: Draws) -> list[str]:
    if draws.why:
        return [_head("The approximation"), _text(f"No evidence and no k-hat: {draws.why}.")]
    rows = [(e.name, f"{e.value:.2f}", f"{e.stderr:.2f}", e.direction) for e in estimates(draws)]
    khat = psis(draws.log_ratio).khat
    said = verdict(khat, len(draws.log_q), draws.latent_values)
    return [
        _head("The approximation"),
        _text(f"{said[0].upper()}{said[1:]}."),
        _text(
            "It knows only where the draws are: a mode that q never visits it cannot see.", "limit"
        ),
        _table(("log p(y | x), nats", "value", "Monte-Carlo error", "direction"), rows),
    ]


def _leave_one_out(draws: Draws) -> list[str]:
    count = draws.log_likelihood.shape[1]
    if (draws.why and not draws.exact) or count > _MANY_EXAMPLES:
        return []
    if not correctable(draws):
        few = psis(draws.log_ratio).khat == math.inf
        said = (
            "too few draws" if few else "with a k-hat of 1 or more no weights give the posterior's"
        )
        return [_head("Leave-one-out"), _text(f"None: {said}.")]
    result = leave_one_out(draws)
    limit, bad = result.limit, result.doubtful
    said = f"Expected log predictive density {result.elpd:.1f} +- {result.stderr:.1f} nats. "
    said += f"Of {count} examples {bad} have a k-hat above {limit:.2f}"
    said += ": do not trust it; score held-out data." if bad else ": it can be trusted."

    def plot(axes):
        axes.plot(result.khat.numpy(), ".")
        axes.axhline(limit, color="tab:red")
        axes.set(xlabel="example", ylabel="k-hat")

    return [_head("Leave-one-out"), _text(said), _image(plot)]


def _posterior(draws: Draws) -> list[str]:
    rows = []
    for name, values in readable(draws).items():
        for place, column in enumerate(values.double().flatten(1).T):
            if values[0].numel() <= _SMALL_SITE:
                low, high = torch.quantile(column, torch.tensor([0.03, 0.97]).double())
                figures = (column.mean(), column.std(), low, high)
                rows.append((f"{name} [{place}]", *(f"{f.item():.3g}" for f in figures)))
    if not rows:
        return []
    return [_head("Small sites"), _table(("site", "mean", "stddev", "3 %", "97 %"), rows)]


def _sites(khats: Mapping[str, float], draws: Draws) -> list[str]:
    if not khats:
        return [_head("K-hat by site"), _text(f"None: no site has up to {MANY_VALUES} values.")]
    rows = [(n, str(draws.values[n][0].numel()), f"{value:.2f}") for n, value in khats.items()]
    said = (
        "One site drawn anew, all others held: it cannot see a correlation between sites, and it "
    )
    said += "grows with a site's number of values even where each is right."
    table = _table(("site", "values", "k-hat"), rows)
    return [_head("K-hat by site"), _text(said, "limit"), table]


def _forests(draws: Draws) -> list[str]:
    """94 % intervals of the units of a site, by their medians; sites of one value in one plot."""
    found = scales(draws)
    single = {name: values.flatten() for name, values in found.items() if values[0].numel() == 1}
    plots = []
    if single:
        plots.append(_forest(torch.stack(list(single.values()), 1), "scale", list(single)))
    for name, values in found.items():
        if name not in single:
            plots.append(_forest(values, name))
    said = "Median and central 94 % interval under q, of each unit or of each tensor."
    return [_head("Scales and gates"), _text(said), *plots] if plots else []


def _forest(values: Tensor, title: str, names: list[str] | None = None) -> str:
    low, median, high = intervals(values)
    order = torch.arange(len(median)) if names else median.argsort()
    low, median, high = (part[order].numpy() for part in (low, median, high))

    wide = low.min() > 0 and high.max() > 10 * low.min()  # less than a decade has no log ticks

    def plot(axes):
        place = range(len(median))
        axes.hlines(place, low, high, lw=1)
        axes.plot(median, place, ".")
        axes.set(xlabel=title, xscale="log" if wide else "linear")
        if names:
            axes.set_yticks(place, names)
            axes.set_ylim(len(names) - 0.5, -0.5)
        else:
            axes.set_ylabel("unit, by its median")

    return _image(plot)


def _ranks(draws: Draws, reference: Draws) -> list[str]:
    """Rank plots of the small sites, values of a site together, and how far each is from flat."""
    rows, plots = [], []
    for name, values in ranks(draws, reference).items():
        distance, _ = distance_to_uniform(values)
        rows.append((name, f"{distance:.3f}"))
        if len(plots) < _MOST_RANK_PLOTS:

            def plot(axes, name=name, values=values):
                axes.hist(values.flatten().numpy(), bins=20, range=(0, 1))
                axes.set(xlabel=f"share of the reference below: {name}", ylabel="draws")

            plots.append(_image(plot))
    said = (
        "Flat: the marginals agree. Heaped in the middle: q is too narrow; at the ends: too wide."
    )
    table = _table(("site", "distance from flat, 0 to 1"), rows)
    return [_head("Ranks among the reference draws"), _text(said), table, *plots]


def _held_out(model, source, x: Tensor, y: Tensor, network, found) -> list[str]:
    if not has_probabilities(model, source, x):
        return [_head("Calibration"), *_pit(pit(model, source, x, y), "Held-out PIT")]
    found = found or calibrations(model, source, x, y, network)
    rows = [
        (name, f"{c.nll.mean():.3f}", f"{c.brier.mean():.3f}", f"{c.ece:.3f}")
        for name, c in found.items()
    ]

    def plot(axes):
        axes.plot([0, 1], [0, 1], color="0.7")
        for name, c in found.items():
            seen = c.count > 0
            axes.plot(c.confidence[seen], c.accuracy[seen], lw=1)
            axes.scatter(c.confidence[seen], c.accuracy[seen], 4 * c.count[seen].sqrt(), label=name)
        axes.set(xlabel="confidence", ylabel="accuracy")
        axes.legend(loc="lower right")

    table = _table(("held-out", "NLL, nats", "Brier", "ECE"), rows)
    said = "Larger dots are bins of more examples; a bin of a few says nothing."
    return [_head("Calibration"), table, _image(plot), _text(said, "limit")]


def _loo_pit(draws: Draws, y: Tensor) -> list[str]:
    count = draws.log_likelihood.shape[1]
    if draws.predictions is None or y.numel() != count or not 0 < count <= _MANY_EXAMPLES:
        return []
    if (draws.why and not draws.exact) or not correctable(draws):
        return []
    return _pit(loo_pit(draws, y), "LOO-PIT")


def _pit(values: Tensor, name: str) -> list[str]:
    distance, limit = distance_to_uniform(values)
    said = f"{name} values are {distance:.3f} from uniform, "
    said += f"{'beyond' if distance > limit else 'within'} the 5 % limit {limit:.3f}."

    def plot(axes):
        axes.hist(values.flatten().cpu().numpy(), bins=20, range=(0, 1))
        axes.set(xlabel=name, ylabel="examples")

    return [_text(said), _image(plot)]


def _head(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def _text(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>'


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [("th", head), *(("td", row) for row in rows)]
    cells = ["".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line) for tag, line in lines]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in cells) + "</table>"


def _image(plot: Callable) -> str:
    # Without pyplot: no window, no state of the caller's that could change.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    plot(figure.subplots())
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    data = base64.b64encode(png.getvalue()).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'
