"""The picture of the README shows the points of the results files."""

import re


def test_the_picture_has_the_points(tool):
    curve = tool("curve")
    (said,) = re.findall(r"<dc:description>(.*?)</dc:description>", curve.PICTURE.read_text())
    assert said == curve.points()


def test_it_can_be_drawn(tool, tmp_path):
    curve = tool("curve")
    curve.draw(tmp_path / "picture.svg")
    assert "LeNet-5-Caffe on MNIST" in (tmp_path / "picture.svg").read_text()
