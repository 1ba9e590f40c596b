"""Checkpoints as users have them, and one clear line for all that is none."""

import pickle
import zipfile

import pytest
import safetensors.torch
import torch
from bitsback.compression.packed.checkpoint import of_tensors, open_checkpoint

from .samples import all_types, bits, packed, weights


def same(checkpoint, tensors) -> bool:
    found = {source.name: source.bits().tobytes() for source in checkpoint.sources}
    return found == {name: bits(tensor) for name, tensor in tensors.items()}


@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_of_torch(tmp_path, legacy):
    tensors = weights() if legacy else all_types()
    torch.save(tensors, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    found = open_checkpoint(tmp_path / "a.pt")
    assert same(found, tensors) and found.order == tuple(tensors)


def test_safetensors(tmp_path):
    tensors = all_types()
    safetensors.torch.save_file(tensors, tmp_path / "a", metadata={"format": "pt", "é": "x"})
    found = open_checkpoint(tmp_path / "a")
    assert same(found, tensors) and found.metadata == {"format": "pt", "é": "x"}


def test_views_parameters_and_ties():
    base = torch.randn(4, 6)
    parameter = torch.nn.Parameter(base.T)
    found = of_tensors({"a": parameter, "b": base[::2], "c": parameter, "d": base[0, 0]})
    assert found.ties == (("c", "a"),) and found.order == ("a", "b", "c", "d")
    assert same(found, {"a": base.T, "b": base[::2], "d": base[0, 0]})


class Code:
    def __reduce__(self):
        return print, ("this must not run",)


REFUSED = {
    "code": ("holds more than tensors", lambda path: torch.save({"a": Code()}, path)),
    "whole network": ("holds more than", lambda path: torch.save(torch.nn.Linear(2, 2), path)),
    "list": ("holds a list", lambda path: torch.save([torch.ones(2)], path)),
    "nested": ("'model' is a dict", lambda path: torch.save({"model": {}, "epoch": 1}, path)),
    "key": ("called 3", lambda path: torch.save({3: torch.ones(2)}, path)),
    "sparse": ("'a' is a sparse", lambda path: torch.save({"a": torch.eye(2).to_sparse()}, path)),
    "complex": (
        "'a' has type complex64",
        lambda path: torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path),
    ),
    "zip": ("no file that torch.save wrote", lambda path: zipfile.ZipFile(path, "w").close()),
    "pickle": ("holds more than", lambda path: path.write_bytes(pickle.dumps(Code()))),
    "text": ("neither a safetensors", lambda path: path.write_text("some text")),
    "empty": ("neither a safetensors", lambda path: path.write_bytes(b"")),
    "packed": ("compressed already", lambda path: path.write_bytes(packed(weights()))),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused_by_name(tmp_path, case, capsys):
    message, write = REFUSED[case]
    write(tmp_path / "file")
    with pytest.raises(ValueError, match=message) as caught:
        open_checkpoint(tmp_path / "file")
    assert "file" in str(caught.value) and "\n" not in str(caught.value)
    assert not capsys.readouterr().out


def test_damaged_files_of_torch_are_refused(tmp_path):
    torch.save(weights(), tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    for length in range(2, len(data), len(data) // 40):
        (tmp_path / "cut.pt").write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.pt"):
            open_checkpoint(tmp_path / "cut.pt")


def test_unknown_types_of_safetensors_are_refused(tmp_path):
    head = b'{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}'
    (tmp_path / "a").write_bytes(len(head).to_bytes(8, "little") + head + b"\0")
    with pytest.raises(ValueError, match="'a' has type F8_E8M0"):
        open_checkpoint(tmp_path / "a")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.empty(2, device="meta"), "meta device"),
        (torch.nested.as_nested_tensor([torch.ones(2)], layout=torch.jagged), "nested"),
        ("text", "is a str"),
    ],
)
def test_other_tensors_are_refused_by_name(tensor, message):
    with pytest.raises(ValueError, match=rf"'the\.name'.*{message}"):
        of_tensors({"fine": torch.ones(2), "the.name": tensor})
