"""`--data FOLDER` of images by class: FOLDER/CLASS/image.png, or FOLDER/train/CLASS/image.png.

Needs Pillow, which matplotlib brings.
"""

from pathlib import Path

import numpy as np

from .parts import Part

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
GREY = ("1", "L", "LA", "I;16")  # Pillow's modes without colours


def read_images(folder: Path, crop: int | None) -> tuple[dict[str, Part], tuple[str, ...]]:
    """The parts of a folder and the names of its classes, sorted.

    :param crop: shorter sides are scaled to so many pixels and the middle square is cut out; None:
        all images must have one size.
    :returns: parts with pixels as bytes, shape `(n, channels, height, width)`; one channel if all
        images are grey, else three.
    :raises ValueError: names the image that does not decode or has another size, or the folder
        that has no images.
    """
    folders = {PARTS[sub.name]: sub for sub in _folders(folder) if sub.name in PARTS}
    if "train" not in folders:
        folders = {"train": folder}
    classes = tuple(sub.name for sub in _folders(folders["train"]))
    if len(classes) < 2:
        raise ValueError(
            f"{folder}: must have a folder of images for each class, or train/, val/ and test/ "
            f"with such folders; found {len(classes)} classes in {folders['train']}"
        )
    files = {key: _listed(root, classes) for key, root in folders.items()}
    channels = 1 if all(_is_grey(path) for listed in files.values() for path, _ in listed) else 3
    first = _pixels(files["train"][0][0], channels, crop)
    parts = {}
    for key, listed in files.items():
        x = np.empty((len(listed), *first.shape), np.uint8)
        for row, (path, _) in enumerate(listed):
            pixels = _pixels(path, channels, crop)
            if pixels.shape != first.shape:
                raise ValueError(
                    f"{path}: has {_size(pixels)} pixels, {files['train'][0][0]} {_size(first)}; "
                    "--crop N scales and cuts all images to N x N"
                )
            x[row] = pixels
        y = np.array([label for _, label in listed], np.int64)
        parts[key] = Part(x, y, str(folders[key]), str(folders[key]))
    return parts, classes


def _folders(folder: Path) -> list[Path]:
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and sub.name[0] != ".")


def _listed(root: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """All images of a part in order, with their classes."""
    found = []
    for sub in _folders(root):
        if sub.name not in classes:
            raise ValueError(f"{sub}: is a class that the training part does not have")
        images = sorted(p for p in sub.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not images:
            raise ValueError(f"{sub}: holds no images ({', '.join(SUFFIXES)})")
        found += [(path, classes.index(sub.name)) for path in images]
    return found


def _opened(path: Path):
    try:
        from PIL import Image
    except ImportError:
        raise ValueError(
            f"{path}: reading images needs Pillow (pip install 'bitsback[images]')"
        ) from None
    try:
        return Image.open(path)
    except Exception as error:  # Pillow raises many kinds for a damaged or hostile file
        raise ValueError(f"{path}: does not decode as an image ({_first(error)})") from error


def _is_grey(path: Path) -> bool:
    with _opened(path) as image:
        return image.mode in GREY


def _pixels(path: Path, channels: int, crop: int | None) -> np.ndarray:
    """Bytes `(channels, height, width)`."""
    with _opened(path) as image:
        try:
            image = image.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # see `_opened`
            raise ValueError(f"{path}: does not decode as an image ({_first(error)})") from error
        if crop is not None:
            image = _cut(image, crop)
        pixels = np.asarray(image, np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _cut(image, crop: int):
    """The middle square of an image whose shorter side is scaled to `crop` pixels."""
    width, height = image.size
    scale = crop / min(width, height)
    size = tuple(max(crop, round(side * scale)) for side in (width, height))
    image = image if size == image.size else image.resize(size)
    left, top = ((side - crop) // 2 for side in size)
    return image.crop((left, top, left + crop, top + crop))


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[2]} x {pixels.shape[1]}"


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
