"""A kept pair is loaded with the options that it was made by."""

from pathlib import Path

import pytest
from bitsback.training.trained import save_guide
from bitsback.workbench.kept import method_of, rebuild, taken_over
from bitsback.workbench.networks import network
from bitsback.workbench.pipeline import run
from bitsback.workbench.settings import Settings, resolve
from rich.console import Console

NAMES = {"method": "bayesian-bits", "network": "digits-mlp", "data": "digits"}


def kept(folder: Path, about: dict[str, str], **made) -> Path:
    """A pair made by the settings `made`, whose file says `about`."""
    method = method_of(Settings.of(**NAMES, **made))
    path = folder / "pair.safetensors"
    save_guide(path, *method.pair(network("digits-mlp"), 10), {**NAMES, **about})
    return path


def test_what_the_file_says_is_taken_over(tmp_path):
    path = kept(tmp_path, {"arm": "lsq", "widths": "4"}, arm="lsq", widths=(4,))
    for given in ({}, {"arm": "lsq"}, {"widths": (4,)}):
        found = taken_over(Settings.of(**NAMES, **given, load_guide=path))
        assert found.options == {"arm": "lsq", "widths": (4,)}
    model, guide = rebuild(path, 10)
    assert model.widths == (4,) and model.ranges == "lsq" and not guide.inclusions()
    nothing = taken_over(Settings.of(**NAMES, arm="pruning"))  # to load
    assert nothing.options == {"arm": "pruning"}


def test_a_kept_objective_is_taken_over(tmp_path):
    path = kept(tmp_path, {"objective": "exact"}, objective="exact")
    assert rebuild(path, 10)[0].objective == "exact"
    assert method_of(Settings.of(**NAMES, objective="exact")).model_options["objective"] == "exact"


@pytest.mark.parametrize(
    ("about", "given", "match"),
    [
        ({"arm": "lsq"}, {"arm": "pruning"}, "was trained with --arm lsq"),
        ({"objective": "exact"}, {"objective": "published"}, "was trained with --objective exact"),
        ({"widths": "2,4"}, {"widths": (2, 8)}, "was trained with --widths 2,4"),
        ({"arm": "none"}, {}, "--arm none: must be one of"),
        ({"widths": "two"}, {}, "--widths two: must be whole numbers"),
    ],
)
def test_others_are_refused(about, given, match, tmp_path):
    path = kept(tmp_path, about)
    with pytest.raises(ValueError, match=rf"pair\.safetensors: {match}"):
        taken_over(Settings.of(**NAMES, **given, load_guide=path))


def test_a_file_that_says_nothing_leaves_them_as_given(tmp_path):
    path = kept(tmp_path, {}, arm="quantisation")
    found = taken_over(Settings.of(**NAMES, arm="quantisation", load_guide=path))
    assert found.options == {"arm": "quantisation"}


def test_a_kept_arm_compresses_to_the_same_file(tmp_path):
    """Without --arm at the second time."""
    pair, file = tmp_path / "pair.safetensors", tmp_path / "net.bb"
    shared = {"method": "bayesian-bits", "out": file, "threads": 1}
    settings = Settings.of(
        **shared, arm="quantisation", widths=(3, 6), epochs=1, pretrain_epochs=1, save_guide=pair
    )
    run(resolve(settings), Console(quiet=True))
    data = file.read_bytes()
    again = run(resolve(Settings.of(**shared, load_guide=pair)), Console(quiet=True))
    assert file.read_bytes() == data
    assert {layer["weight_bits"] for layer in again["bops"]["layers"].values()} <= {3, 6}
