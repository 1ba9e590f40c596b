"""Names that no layer can have: those of the installed torch are among them."""

from bitsback.compression.taken_names import MODULE, SEQUENTIAL
from torch import nn


def test_they_are_torchs():
    for names, made in ((MODULE, nn.Module()), (SEQUENTIAL, nn.Sequential())):
        own = {name for name in dir(made) if not name.startswith("__")}
        assert own <= names
        assert {"__class__", "__dict__", "forward", "training"} <= names
    assert "append" in SEQUENTIAL - MODULE and "weight" not in SEQUENTIAL
