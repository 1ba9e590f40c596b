"""The `bitsback` command and its options.

This file loads nothing heavy, so that `bitsback --help` is fast. Exit codes: 0 ok, 1 a result
failed a check, 2 wrong use or bad input, 3 a corrupt compressed file, 130 interrupted.
"""

from pathlib import Path
from typing import Annotated

import typer

from ..methods import DEFAULT
from . import commands, pack_command, shrink_command, tau0_command
from .common_options import (
    REFERENCE_NETWORKS,
    Coder,
    CompressedFile,
    Crop,
    Data,
    DataDir,
    Json,
    LikelihoodName,
    Model,
    ModelArgs,
    Quiet,
    Target,
)
from .method_options import MethodCommand, parsed_options, with_method_options
from .one_line import one_line
from .settings import Settings, number_or_validation, positive_integers

app = typer.Typer(
    help="Bayesian compression of neural networks: from a network and data to one small file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # what gets past `one_line` is a bug: show it whole and plain
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of the console script."""
    app(prog_name="bitsback")


@app.command(cls=MethodCommand)
@one_line
@with_method_options
def compress(
    data: Data = "digits",
    target: Target = None,
    likelihood: LikelihoodName = None,
    crop: Crop = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="N", help=f"Reference network: {REFERENCE_NETWORKS}. Default: by D."),
    ] = None,
    model: Model = None,
    model_args: ModelArgs = None,
    method: Annotated[
        str, typer.Option(metavar="M", help="Method; `bitsback methods` lists them.")
    ] = DEFAULT,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training data, both phases' if it has two.")
    ] = None,
    pretrain_epochs: Annotated[
        int | None, typer.Option(help="Passes before that, without noise.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples in a step; of pre-training at most 128.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of Adam at the start.")] = None,
    kl_warmup: Annotated[
        int | None, typer.Option(help="Epochs over which the KL's weight rises to 1.")
    ] = None,
    shift: Annotated[
        int | None, typer.Option(help="Move training images by up to so many pixels.")
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror training images left to right at random.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of all that is random.")] = 0,
    device: Annotated[str, typer.Option(metavar="D", help="cpu, cuda or cuda:0.")] = "cpu",
    compile: Annotated[
        str, typer.Option(help="Compile the training step: auto, yes or no.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of torch.")] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="Log alpha above which a weight goes (nats), or 'validation'."),
    ] = None,
    prune: Annotated[
        str | None, typer.Option(help="What is pruned: weights, groups (whole units) or none.")
    ] = None,
    margin_nll: Annotated[
        float | None,
        typer.Option(help="Rise of the validation NLL allowed (nats per example)."),
    ] = None,
    margin_error: Annotated[
        float | None,
        typer.Option(help="Rise of the validation error allowed (percentage points)."),
    ] = None,
    quantiser: Annotated[
        str | None,
        typer.Option(
            help="Values of the kept weights: auto, codebook, stddev, stddev-units, grid or none."
        ),
    ] = None,
    clusters: Annotated[
        str | None, typer.Option(help="Values in a codebook, or 'validation'.")
    ] = None,
    coder: Coder = None,
    effort: Annotated[
        int | None,
        typer.Option(help="How long the search for the file may take: 1 (quick) to 9 (default)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The compressed file. Default: NETWORK-METHOD.bb"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep checkpoints in DIR; go on from those there."),
    ] = None,
    force_resume: Annotated[
        bool, typer.Option("--force-resume", help="Go on from checkpoints that do not match.")
    ] = False,
    data_dir: DataDir = None,
    json: Json = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Start from these trained weights (a state_dict, safetensors or .pt) instead of "
            "pre-training.",
        ),
    ] = None,
    save_guide: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the trained model and guide (safetensors)."),
    ] = None,
    load_guide: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compress what --save-guide kept, without training."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done, and how long it would take."),
    ] = False,
    quiet: Quiet = False,
    **options: object,
) -> None:
    """Train a network and its posterior, and write it as one small file.

    Options that are not given have the method's and network's defaults. A method's own options come
    last: `bitsback compress --method M --help` shows those of M.
    """
    settings = Settings.of(
        data=data,
        target=target,
        likelihood=likelihood,
        crop=crop,
        network=network,
        model=model,
        model_args=model_args,
        method=method,
        epochs=epochs,
        pretrain_epochs=pretrain_epochs,
        batch_size=batch_size,
        lr=lr,
        kl_warmup=kl_warmup,
        shift=shift,
        flip=flip,
        seed=seed,
        device=device,
        compile=compile,
        threads=threads,
        threshold=number_or_validation("--threshold", threshold, float),
        margin_nll=margin_nll,
        margin_error=margin_error,
        prune=prune,
        quantiser=quantiser,
        clusters=number_or_validation("--clusters", clusters, int),
        coder=coder,
        effort=effort,
        out=out,
        resume=resume,
        force_resume=force_resume,
        data_dir=data_dir,
        weights=weights,
        save_guide=save_guide,
        load_guide=load_guide,
        dry_run=dry_run,
        quiet=quiet,
        **parsed_options(options),
    )
    commands.compress(settings, json)


@app.command()
@one_line
def evaluate(
    file: CompressedFile,
    data: Data,
    target: Target = None,
    likelihood: LikelihoodName = None,
    crop: Crop = None,
    model: Model = None,
    model_args: ModelArgs = None,
    data_dir: DataDir = None,
    json: Json = None,
) -> None:
    """Test error and NLL of a compressed file.

    --model is needed for a file whose network could not be traced: its weights go into the class.
    """
    source = {"data": data, "target": target, "likelihood": likelihood, "crop": crop}
    commands.evaluate(file, source, data_dir, json, (model, model_args))


@app.command()
@one_line
def inspect(file: CompressedFile, json: Json = None) -> None:
    """Where the bytes of a compressed file are, and what is left of each layer."""
    commands.inspect(file, json)


@app.command()
@one_line
def export(
    file: CompressedFile,
    out: Annotated[Path, typer.Option(metavar="OUT", help="The file to write.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="onnx (with integers where there are any), torch (a program for "
            "torch.export.load), safetensors (the decoded tensors by name), or c (a header with a "
            "decoder for files of this network).",
        ),
    ] = "onnx",
    levels: Annotated[
        int | None,
        typer.Option(
            help="ONNX: make integers of inputs in [0, 1], too, multiples of 1/LEVELS: 255 for "
            "mnist, 16 for digits. Default: they stay floats."
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="Shape of an input, as in 1,28,28. Default: what the first layer says.",
        ),
    ] = None,
    model: Model = None,
    model_args: ModelArgs = None,
    json: Json = None,
) -> None:
    """Write a compressed network as ONNX, torch's program, plain tensors, or a decoder in C."""
    sizes = positive_integers("--shape", shape)
    commands.export(file, out, to, levels, sizes, json, (model, model_args))


@app.command()
@one_line
def diagnose(
    file: Annotated[
        Path, typer.Argument(metavar="GUIDE", help="What `compress --save-guide` kept.")
    ],
    compressed: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its compressed network, to compare calibration with."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The page, self-contained HTML.")
    ] = Path("diagnosis.html"),
    samples: Annotated[int, typer.Option(help="Draws from the guide.")] = 200,
    data_dir: DataDir = None,
    json: Json = None,
) -> None:
    """How far a trained guide can be trusted: k-hat, evidence, leave-one-out, calibration."""
    commands.diagnose(file, compressed, out, samples, data_dir, json)


@app.command()
@one_line
def methods(
    method: Annotated[
        str | None, typer.Argument(metavar="[M]", help="One method, with options and presets.")
    ] = None,
    json: Json = None,
) -> None:
    """The methods: name, prior, guide, paper; or one of them with its options and defaults."""
    commands.methods(method, json)


@app.command()
@one_line
def env(json: Json = None) -> None:
    """Versions, cores, compiler and CUDA, for bug reports."""
    commands.env(json)


for more in (shrink_command, pack_command, tau0_command):
    more.register(app)
