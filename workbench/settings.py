"""What one run of `bitsback compress` is to do: every option, checked before any work starts."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .names import lookup

if TYPE_CHECKING:
    from .own_data import Source

QUANTISERS = ("auto", "codebook", "stddev", "stddev-units", "grid", "none")
MOST_EFFORT = 9
PRUNE = ("weights", "groups", "none")
CODERS = ("range", "huffman")
COMPILE = ("auto", "yes", "no")
_FIXED = {"prune": False, "bits": False}
ARMS = {
    "both": {},
    "quantisation": {"prune": False},
    "pruning": {"bits": False},
    "lsq": {**_FIXED, "ranges": "lsq"},
    "pact": {**_FIXED, "ranges": "pact"},
}
MAX_SEED = 2**31 - 1
MAX_THREADS = 1024
MAX_CLUSTERS = 4096  # of compression.compress, which says so only after the training
VALIDATION = "validation"  # "chosen on the validation data"


@dataclass(frozen=True)
class Settings:
    """The options of a run. None stands for the default of the method and network.

    :param data: name of a data set, or data of the user's own; `target`, `likelihood` and `crop`
        say more of these: see `own_data.Source`.
    :param network: a name from NETWORKS; `method`: a name from METHODS.
    :param model: a network of the user's own instead of `network`, as FILE_OR_MODULE:FACTORY (see
        `own_network`); `network` is then its factory's name.
    :param model_args: arguments of the factory as JSON.
    :param epochs: passes over the training data with the method's prior, those with the prior of
        the method that it starts from included.
    :param pretrain_epochs: passes before that without noise, by maximum a posteriori.
    :param batch_size: examples a step; of pre-training and of `polish` at most 128.
    :param lr: learning rate of Adam at the start.
    :param shift: training images are moved by up to so many pixels (see `augment.shifted`).
    :param flip: training images are mirrored left to right at random.
    :param kl_warmup: epochs over which the weight of the KL rises to 1.
    :param threshold: log alpha above which a weight goes, in nats, or "validation".
    :param prune: what the threshold is held against; see `compression.compress`.
    :param margin_nll: rise of the validation negative log likelihood that compression may cost,
        in nats per example.
    :param margin_error: the same for the validation error, in percentage points.
    :param clusters: values in the codebook of a layer, or "validation".
    :param effort: of the search for a file, 1 (quick) to 9 (default).
    :param compile: "yes", "no", or "auto": only where it pays.
    :param threads: torch's threads; None: one for a small network, else as many as torch takes.
    :param beta: of method rate: what a bit of the weights costs in bits of labels.
    :param target_bytes: of method rate: the size of file that beta is moved to reach.
    :param target_error: of method rate: the validation error to reach by moving beta, percent.
    :param distill: of method rate: whether the network it starts from teaches it.
    :param cost: of method bayesian-bits: nats for each example of a bit of the largest layer. Of
        hard-concrete: nats for each weight that an open gate lets through.
    :param target_bops: of method bayesian-bits: BOPs to reach, a share of those at 32 bits.
    :param arm: of method bayesian-bits: which gates there are, one of `ARMS`.
    :param widths: of method bayesian-bits: bits that gates choose among; of the arms without
        gates the one of all weights and ReLUs.
    :param gates: of method bayesian-bits: "chain" or "independent" gates of widths.
    :param objective: of method bayesian-bits: the "published" one or the "exact" KL(q || p).
    :param coupling: of method bayesian-bits: what a bit by which neighbouring widths differ costs,
        as a share of what a bit costs.
    :param freeze_weights: of method bayesian-bits: whether gates and ranges alone are trained.
    :param out: the compressed file.
    :param resume: folder for checkpoints; a run goes on from those that are there.
    :param force_resume: go on even from checkpoints of other settings, threads or versions.
    :param data_dir: a folder to search first for the files of the data set.
    :param weights: a trained network's state_dict (safetensors or `.pt`) to start from, not
        pre-trained.
    :param save_guide: where to write the trained pair (safetensors).
    :param load_guide: a trained pair to compress, without any training.
    """

    data: str = "digits"
    target: str | None = None
    likelihood: str | None = None
    crop: int | None = None
    network: str | None = None
    model: str | None = None
    model_args: str | None = None
    method: str = "log-uniform"
    epochs: int | None = None
    pretrain_epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    kl_warmup: int | None = None
    shift: int | None = None
    flip: bool = False
    seed: int = 0
    device: str = "cpu"
    compile: str = "auto"
    threads: int | None = None
    threshold: float | str | None = None
    prune: str | None = None
    margin_nll: float | None = None
    margin_error: float | None = None
    quantiser: str | None = None
    clusters: int | str | None = None
    coder: str = "range"
    effort: int | None = None
    beta: float | None = None
    target_bytes: int | None = None
    target_error: float | None = None
    distill: bool = False
    cost: float | None = None
    target_bops: float | None = None
    arm: str | None = None
    widths: tuple[int, ...] | None = None
    gates: str | None = None
    objective: str | None = None
    coupling: float | None = None
    freeze_weights: bool = False
    out: Path | None = None
    resume: Path | None = None
    force_resume: bool = False
    data_dir: Path | None = None
    weights: Path | None = None
    save_guide: Path | None = None
    load_guide: Path | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        """:raises ValueError: for a value out of range, naming the option."""
        _one_of("--quantiser", self.quantiser, QUANTISERS)
        _one_of("--prune", self.prune, PRUNE)
        _one_of("--coder", self.coder, CODERS)
        _one_of("--compile", self.compile, COMPILE)
        for option, value, least in (
            ("--epochs", self.epochs, 1),
            ("--pretrain-epochs", self.pretrain_epochs, 0),
            ("--batch-size", self.batch_size, 1),
            ("--kl-warmup", self.kl_warmup, 0),
            ("--shift", self.shift, 0),
            ("--threads", self.threads, 1),
            ("--seed", self.seed, 0),
            ("--margin-nll", self.margin_nll, 0),
            ("--margin-error", self.margin_error, 0),
            ("--target-bytes", self.target_bytes, 1),
            ("--effort", self.effort, 1),
            ("--clusters", None if isinstance(self.clusters, str) else self.clusters, 1),
        ):
            # "not >=" rather than "<", so that nan is refused too.
            if value is not None and not value >= least:
                raise ValueError(f"{option} {value}: must be at least {least}")
        for option, value, most in (
            ("--seed", self.seed, MAX_SEED),
            ("--threads", self.threads, MAX_THREADS),
            ("--clusters", self.clusters, MAX_CLUSTERS),
            ("--effort", self.effort, MOST_EFFORT),
        ):
            if isinstance(value, int) and value > most:
                raise ValueError(f"{option} {value}: must be at most {most}")
        if self.beta is not None and not 0 < self.beta < float("inf"):
            raise ValueError(f"--beta {self.beta}: must be positive and finite")
        if self.target_error is not None and not 0 < self.target_error < 100:
            raise ValueError(f"--target-error {self.target_error}: must be within 0 and 100")
        if self.target_error is not None and self.target_bytes is not None:
            raise ValueError("--target-error: beta cannot reach --target-bytes too; give one")
        if self.cost is not None and not 0 < self.cost < float("inf"):
            raise ValueError(f"--cost {self.cost}: must be positive and finite")
        if self.target_bops is not None and not 0 < self.target_bops < 1:
            raise ValueError(f"--target-bops {self.target_bops}: must be a share within (0, 1)")
        self._check_arm()
        for option, (given, *methods) in _of_some_methods(self).items():
            if given and self.method not in methods:
                those = " or ".join(methods)
                raise ValueError(f"{option}: only --method {those} has it, not {self.method}")
            if given and self.load_guide is not None and option not in KEPT:
                raise ValueError(f"{option}: no training with --load-guide to use it in")
        if self.lr is not None and not 0 < self.lr < float("inf"):
            raise ValueError(f"--lr {self.lr}: must be positive and finite")
        if isinstance(self.threshold, float) and self.threshold != self.threshold:
            raise ValueError("--threshold nan: must be a number or 'validation'")
        if self.load_guide is not None and (self.weights or self.save_guide or self.resume):
            raise ValueError(
                "--load-guide: nothing is trained, so --weights, --save-guide and --resume make "
                "no sense with it"
            )
        if self.model_args is not None and self.model is None:
            raise ValueError("--model-args: needs --model FILE_OR_MODULE:FACTORY to pass them to")
        if self.force_resume and self.resume is None:
            raise ValueError("--force-resume: needs --resume DIR, the folder of the checkpoints")

    @property
    def source(self) -> "Source":
        """Where the data come from."""
        from .own_data import Source

        return Source(self.data, self.target, self.likelihood, self.crop)

    @property
    def label(self) -> str | None:
        """The network's name in the compressed file; a network of the user's own has none."""
        return self.network if self.model is None else None

    def _check_arm(self) -> None:
        """Whether arm, widths and what needs gates go together."""
        _one_of("--arm", self.arm, tuple(ARMS))
        _one_of("--gates", self.gates, ("chain", "independent"))
        _one_of("--objective", self.objective, ("published", "exact"))
        if self.coupling is not None and not 0 < self.coupling < float("inf"):
            raise ValueError(f"--coupling {self.coupling}: must be positive and finite")
        if self.arm is None or ARMS[self.arm].get("bits", True) or self.load_guide is not None:
            return
        fixed = not ARMS[self.arm].get("prune", True)
        if fixed and (self.widths is None or len(self.widths) != 1):
            raise ValueError(f"--arm {self.arm}: has no gates; give one width, as in --widths 4")
        if self.coupling is not None:
            raise ValueError(f"--coupling: --arm {self.arm} has no widths to choose")
        for option, given in (
            ("--cost", self.cost),
            ("--objective", self.objective),
            ("--target-bops", self.target_bops),
        ):
            if fixed and given is not None:
                raise ValueError(f"{option}: --arm {self.arm} has no gates that it could move")


# Options that the pair is made by; `--save-guide` keeps them, `--load-guide` takes them over.
KEPT = {"--arm": "arm", "--widths": "widths", "--gates": "gates", "--objective": "objective"}


def _of_some_methods(settings: Settings) -> dict[str, tuple[object, *tuple[str, ...]]]:
    """The options that not all methods have: what is given, and the methods that have them."""
    return {
        "--beta": (settings.beta, "rate"),
        "--target-bytes": (settings.target_bytes, "rate"),
        "--target-error": (settings.target_error, "rate"),
        "--distill": (settings.distill, "rate"),
        "--cost": (settings.cost, "bayesian-bits", "hard-concrete"),
        "--target-bops": (settings.target_bops, "bayesian-bits"),
        "--arm": (settings.arm, "bayesian-bits"),
        "--widths": (settings.widths, "bayesian-bits"),
        "--gates": (settings.gates, "bayesian-bits"),
        "--objective": (settings.objective, "bayesian-bits"),
        "--coupling": (settings.coupling, "bayesian-bits"),
        "--freeze-weights": (settings.freeze_weights, "bayesian-bits"),
    }


def resolve(settings: Settings) -> Settings:
    """The same settings with the network's name and the output file filled in.

    :raises ValueError: for an unknown data set, network or method (the message lists the known
        ones), and for a device that this machine does not have.
    """
    from ..distributions.quantiser import check_widths
    from ..methods import METHODS
    from .networks import NETWORKS, default_network

    if settings.widths is not None:
        try:
            check_widths(settings.widths)
        except ValueError as error:
            raise ValueError(f"--widths: {error}") from None
    settings.source.check()
    lookup("method", settings.method, METHODS)
    if settings.model is None:
        if settings.network is None and settings.source.is_own:
            raise ValueError(
                "--data of your own needs a network: --model FILE_OR_MODULE:FACTORY (or --network)"
            )
        network = settings.network or default_network(settings.data)
        lookup("network", network, NETWORKS)
    else:
        network = _own_name(settings)
    _check_device(settings.device)
    out = settings.out or Path(f"{network}-{settings.method}.bb")
    return replace(settings, network=network, out=out)


def _own_name(settings: Settings) -> str:
    """What a network of the user's own is called.

    :raises ValueError: if a reference network was asked for too, or for arguments that are no JSON.
    """
    from .own_network import factory_name, parsed_arguments

    name = factory_name(settings.model)
    if settings.network not in (None, name):
        raise ValueError("--network: --model names another network; give one of the two")
    parsed_arguments(settings.model_args)
    return name


def _check_device(name: str) -> None:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name}: unknown; use cpu, cuda or cuda:0") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here; "
            "use --device cpu, or see `bitsback env`"
        )


def number_or_validation(option: str, text: str | None, number: type) -> float | int | str | None:
    """The value of an option that takes a number or the word "validation".

    :param number: `int` or `float`.
    :raises ValueError: if `text` is neither.
    """
    if text is None or text == VALIDATION:
        return text
    try:
        return number(text)
    except ValueError:
        kind = "a whole number" if number is int else "a number"
        raise ValueError(f"{option} {text}: must be {kind} or '{VALIDATION}'") from None


def positive_numbers(option: str, text: str) -> tuple[float, ...]:
    """The value of an option that takes numbers above 0, with commas between them.

    :raises ValueError: if `text` is anything else.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise ValueError(f"{option} {text}: must be numbers above 0, such as 1e-6,1e-5,0.1")
    return numbers


def positive_integers(option: str, text: str | None) -> tuple[int, ...] | None:
    """The value of an option that takes whole numbers above 0, with commas between them.

    :raises ValueError: if `text` is anything else, but for None.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 2**31 for part in parts):
        raise ValueError(f"{option} {text}: must be whole numbers above 0, such as 2,4,8")
    return tuple(int(part) for part in parts)


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ValueError(f"{option} {value}: must be one of {', '.join(known)}")
