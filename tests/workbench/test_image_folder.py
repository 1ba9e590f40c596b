"""Folders of images by class."""

import numpy as np
import pytest
from bitsback.workbench.image_folder import read_images
from PIL import Image


def image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of three grey 4 x 6 images."""
    for number in range(3):
        image(tmp_path / "bee" / f"{number}.png", np.full((4, 6), number))
        image(tmp_path / "ant" / "more" / f"{number}.png", np.full((4, 6), 10 + number))
    return tmp_path


def test_grey_images(folder):
    parts, classes = read_images(folder, None)
    assert classes == ("ant", "bee") and parts.keys() == {"train"}
    assert parts["train"].x.shape == (6, 1, 4, 6) and parts["train"].x.dtype == np.uint8
    assert parts["train"].x[:, 0, 0, 0].tolist() == [10, 11, 12, 0, 1, 2]
    assert parts["train"].y.tolist() == [0, 0, 0, 1, 1, 1]


def test_parts_and_colours(tmp_path):
    for part in ("train", "val", "test"):
        for kind, colour in (("a", (255, 0, 9)), ("b", (0, 255, 9))):
            image(tmp_path / part / kind / "1.png", np.full((2, 3, 3), colour))
    parts, _ = read_images(tmp_path, None)
    assert parts.keys() == {"train", "validation", "test"}
    assert parts["test"].x.shape == (2, 3, 2, 3)
    assert parts["test"].x[0, :, 0, 0].tolist() == [255, 0, 9]


def test_crop_is_of_the_middle(tmp_path):
    wide = np.zeros((8, 16), np.uint8)
    wide[:, 4:12] = 200
    image(tmp_path / "a" / "1.png", wide)
    image(tmp_path / "b" / "1.png", np.full((20, 4), 7))
    parts, _ = read_images(tmp_path, 8)
    assert parts["train"].x.shape == (2, 1, 8, 8)
    assert (parts["train"].x[0] == 200).all() and (parts["train"].x[1] == 7).all()
    with pytest.raises(ValueError, match=r"b/1.png: has 4 x 20 pixels, .* 16 x 8; --crop N scales"):
        read_images(tmp_path, None)


def test_what_does_not_decode_is_named(folder):
    (folder / "bee" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    with pytest.raises(ValueError, match=r"bee/bad\.png: does not decode as an image"):
        read_images(folder, None)
    whole = (folder / "bee" / "1.png").read_bytes()
    (folder / "bee" / "bad.png").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=r"bee/bad\.png: does not decode as an image"):
        read_images(folder, None)


def test_folders_without_classes_or_images(tmp_path):
    with pytest.raises(ValueError, match="must have a folder of images for each class"):
        read_images(tmp_path, None)
    image(tmp_path / "a" / "1.png", np.zeros((2, 2)))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"b: holds no images"):
        read_images(tmp_path, None)
    for part, kind in (("train", "a"), ("train", "b"), ("test", "c")):
        image(tmp_path / part / kind / "1.png", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="c: is a class that the training part does not have"):
        read_images(tmp_path, None)
