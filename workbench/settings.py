"""What one run of `bitsback compress` is to do: every option, checked before any work starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..methods import DEFAULT, METHODS
from ..methods.options import whole_numbers
from ..training.options import MAX_SEED
from .names import lookup

if TYPE_CHECKING:
    from .own_data import Source

QUANTISERS = ("auto", "codebook", "stddev", "stddev-units", "grid", "none")
MOST_EFFORT = 9
PRUNE = ("weights", "groups", "none")
CODERS = ("small", "fast", "huffman", "range")  # the last: "small" or "fast", by size
COMPILE = ("auto", "yes", "no")
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
    :param options: the method's own options that are given, by name; see `Method.options`.
    :param out: the compressed file.
    :param resume: folder for checkpoints; a run goes on from those that are there.
    :param force_resume: go on even from checkpoints of other settings, threads or versions.
    :param data_dir: a folder to search first for the files of the data set.
    :param weights: a trained network's state_dict (safetensors or `.pt`) to start from, not
        pre-trained.
    :param save_guide: where to write the trained pair (safetensors).
    :param load_guide: a trained pair to compress, without any training.
    :param dry_run: say what would be done, and do nothing.
    """

    data: str = "digits"
    target: str | None = None
    likelihood: str | None = None
    crop: int | None = None
    network: str | None = None
    model: str | None = None
    model_args: str | None = None
    method: str = DEFAULT
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
    coder: str | None = None
    effort: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    out: Path | None = None
    resume: Path | None = None
    force_resume: bool = False
    data_dir: Path | None = None
    weights: Path | None = None
    save_guide: Path | None = None
    load_guide: Path | None = None
    dry_run: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """:raises ValueError: for a value out of range, naming the option."""
        one_of("--quantiser", self.quantiser, QUANTISERS)
        one_of("--prune", self.prune, PRUNE)
        one_of("--coder", self.coder, CODERS)
        one_of("--compile", self.compile, COMPILE)
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
        self._check_options()
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

    @classmethod
    def of(cls, **values: Any) -> "Settings":
        """Settings of values by name; those that are no fields are the method's own options.

        None and False stand for options that are not given.
        """
        own = {f.name for f in fields(cls)}
        options = {k: v for k, v in values.items() if k not in own and _given(v)}
        return cls(**{k: v for k, v in values.items() if k in own}, options=options)

    @property
    def source(self) -> "Source":
        """Where the data come from."""
        from .own_data import Source

        return Source(self.data, self.target, self.likelihood, self.crop)

    @property
    def label(self) -> str | None:
        """The network's name in the compressed file; a network of the user's own has none."""
        return self.network if self.model is None else None

    def _check_options(self) -> None:
        """Whether the method has the options given, and they make sense."""
        method = METHODS.get(self.method)  # `resolve` names an unknown one
        have = {option.name: option for option in method.options} if method else {}
        for name in self.options:
            if name not in have and method is not None:
                raise ValueError(_not_its_own(name, self.method))
            if name in have and self.load_guide is not None and not have[name].kept:
                flag = have[name].flag
                raise ValueError(f"{flag}: no training with --load-guide to use it in")
        if method is not None and self.load_guide is None:
            method.check_given(self.options)


def _given(value: Any) -> bool:
    """Whether a value stands for an option that was given; 0 does, and is out of range perhaps."""
    return value is not None and value is not False


def _not_its_own(name: str, method: str) -> str:
    """Why a method does not take an option."""
    owners = [key for key, other in METHODS.items() if name in (o.name for o in other.options)]
    flag = "--" + name.replace("_", "-")
    if not owners:
        return f"{flag}: no method has such an option"
    return f"{flag}: only --method {' or '.join(owners)} has it, not {method}"


def resolve(settings: Settings) -> Settings:
    """The same settings with the network's name and the output file filled in.

    :raises ValueError: for an unknown data set, network or method (the message lists the known
        ones), and for a device that this machine does not have.
    """
    from .networks import NETWORKS, default_network

    settings.source.check()
    method = lookup("method", settings.method, METHODS)
    replace(method, given=settings.options).hooked().check()
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


# What a call in Python has in other ways, or has no use for.
_NOT_IN_A_CALL = (
    "data", "target", "likelihood", "crop", "network", "model", "model_args", "weights", "out",
    "data_dir", "load_guide", "options", "quiet", "threads",
    "dry_run",
)  # fmt: skip


def check_names(settings: Settings, options: Mapping[str, Any]) -> None:
    """Refuse what a call in Python does not take, an unknown method, or a device that is not here.

    :param options: as they were given.
    :raises ValueError: names the option.
    """
    for name in options:
        if name in _NOT_IN_A_CALL:
            raise ValueError(f"{name}: compress_network does not take this option of the command")
    method = lookup("method", settings.method, METHODS)
    replace(method, given=settings.options).hooked().check()
    _check_device(settings.device)


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
    return None if text is None else whole_numbers(option, text)


def one_of(option: str, value: str | None, known: tuple[str, ...]) -> None:
    """Raise ValueError unless the value of an option is among those known, or None."""
    if value is not None and value not in known:
        raise ValueError(f"{option} {value}: must be one of {', '.join(known)}")
