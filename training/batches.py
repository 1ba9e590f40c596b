"""Batches of training examples: in an epoch's order, moved, with what a teacher says of them."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, take
from .augment import corners, mirrored, moved
from .options import Options

LARGEST = 2**26  # probabilities of a teacher that are kept (256 MB); with more it is asked anew
CHUNK = 1_000  # examples that a teacher is asked about at once


class Batches:
    """Where the steps of a run get their examples.

    A teacher of the model (`models.teacher`) is asked once about every image in every place that it
    may be moved to, if there are fewer places than epochs; what it says then stands behind the
    labels.

    :param model: the model that is trained.
    :param train: inputs and labels.
    :param say: told what takes long.
    :raises ValueError: for inputs that are no images if they are to be moved.
    """

    def __init__(
        self, model: nn.Module, train: tuple[Inputs, Tensor], options: Options,
        say: Callable[[str], None],
    ):  # fmt: skip
        self.x, self.y = train
        self._seed, self._most, self._flip = options.seed, options.shift, options.flip
        self.batch = min(options.batch_size, len(self.y))
        self.steps = len(self.y) // self.batch  # in an epoch
        shape = tuple(self.x.shape) if isinstance(self.x, Tensor) else type(self.x).__name__
        for name, asked in (("shift", self._most), ("flip", self._flip)):
            if asked and len(shape) != 4:
                raise ValueError(f"{name} needs images (N, channels, height, width), not {shape}")
        self._soft = None
        teacher = getattr(model, "teacher", None)
        few = (2 * self._most + 1) ** 2 < options.epochs and not self._flip
        if teacher is not None and few and isinstance(self.x, Tensor):
            say("asking the teacher about all examples, wherever they may be moved to")
            self._soft = self._ask(teacher)

    def order(self, epoch: int) -> Tensor:
        """The epoch's order of the examples: a function of seed and epoch alone."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return torch.randperm(len(self.y), generator=generator).to(self.y.device)

    def take(self, chosen: Tensor, seed: int) -> tuple[Inputs, Tensor]:
        """Inputs and labels of a batch; the seed decides how images are moved and mirrored."""
        x, y = take(self.x, chosen), self.y[chosen]
        at = corners(len(chosen), self._most, seed)
        if self._most:
            x = moved(x, self._most, at)
        if self._flip:
            x = mirrored(x, seed)
        if self._soft is not None:
            place = (at[0] * (2 * self._most + 1) + at[1]).to(x.device)
            y = torch.cat([y[:, None].to(self._soft), self._soft[place, chosen]], 1)
        return x, y

    def _ask(self, teacher) -> Tensor | None:
        """Its probabilities, shape (places, examples, classes); None if that is too many."""
        places = list(itertools.product(range(2 * self._most + 1), repeat=2))
        one = teacher.soft(self.x[:1])
        if len(places) * len(self.x) * one.shape[1] > LARGEST:
            return None
        soft = one.new_empty(len(places), len(self.x), one.shape[1])  # inputs may be integers
        for row, place in zip(soft, places, strict=True):
            # In chunks that are always the same, so that a resumed run has the same bits.
            for x, part in zip(self.x.split(CHUNK), row.split(CHUNK), strict=True):
                at = torch.tensor(place)[:, None].expand(2, len(x))
                part.copy_(teacher.soft(moved(x, self._most, at) if self._most else x))
        return soft
