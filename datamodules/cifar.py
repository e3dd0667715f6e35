"""Colour photographs of ten kinds of things: CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule
from datamodules._files import data_dir, provide
from datamodules._spec import Field, Spec

MARGIN = 4  # pixels on each side of an image that a crop may be moved by
BORDERS = ("reflect", "constant")


class CIFAR10(ArrayDataModule):
    """32×32 colour photographs, standardised per channel by the training images' mean and deviation.

    A batch is (image, label) of shapes (B, 3, 32, 32) and (B,). The last 5,000 of the 50,000 training images, in file
    order, are the validation split. Each training image is cropped at random out of its enlargement by 4 pixels on each
    side, and mirrored in one case of two; the border is its reflection ("reflect") or the mean colour ("constant").

    Raises ValueError for an unknown border.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    seeded = False
    libraries = ("torchvision.datasets",)
    downloads = True
    citation = """\
@techreport{krizhevsky2009learning,
  author = {Krizhevsky, Alex},
  title = {{Learning Multiple Layers of Features from Tiny Images}},
  institution = {University of Toronto},
  year = {2009},
  url = {https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf}
}"""
    class_names: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    #: Moments of the training images' channels in [0, 1].
    mean: ClassVar[tuple[float, ...]] = (0.4914, 0.4822, 0.4465)
    std: ClassVar[tuple[float, ...]] = (0.2470, 0.2435, 0.2616)
    held_back: ClassVar[int] = 5_000

    def __init__(self, batch_size: int = 128, seed: int = 0, border: str = "reflect", drop_last: bool = False) -> None:
        super().__init__(batch_size, seed, drop_last)
        if border not in BORDERS:
            raise ValueError(f"border must be one of {', '.join(map(repr, BORDERS))}, got {border!r}")
        self.save_hyperparameters()
        self.border = border

    @property
    def spec(self) -> Spec:
        batch = (Field((3, 32, 32)), Field((), torch.int64, classes=10))
        arguments = {"in_channels": 3, "in_features": 3 * 32 * 32, "num_classes": 10}
        return Spec(batch, arguments, {"train": 50_000 - self.held_back, "val": self.held_back, "test": 10_000}, "1")

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        self._root()

    def _dataset(self, root: Path, **options: bool) -> Any:
        import torchvision

        return torchvision.datasets.CIFAR10(root, **options)

    def _root(self) -> Path:
        names = ("batches.meta", *(f"data_batch_{n}" for n in range(1, 6)), "test_batch")
        return provide(
            "CIFAR10",
            [f"cifar-10-batches-py/{name}" for name in names],
            lambda root: self._dataset(root, download=True),
            "get them with: python -c "
            f'"import torchvision; torchvision.datasets.CIFAR10({str(data_dir())!r}, download=True)"',
        )

    def load(self, split: str) -> tuple[Tensor, ...]:
        whole = self._dataset(self._root(), train=split != "test")
        part = {"train": slice(-self.held_back), "val": slice(-self.held_back, None), "test": slice(None)}[split]
        images = torch.from_numpy(whole.data[part]).permute(0, 3, 1, 2).contiguous().float()
        mean, std = (torch.tensor(moment)[:, None, None] for moment in (self.mean, self.std))
        return images.div_(255).sub_(mean).div_(std), torch.tensor(whole.targets[part])

    def transform(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        images, labels = batch
        height, width = images.shape[-2:]
        padded = torch.nn.functional.pad(images, (MARGIN,) * 4, mode=self.border)
        down, right = torch.randint(2 * MARGIN + 1, (2, len(images), 1), generator=generator)
        mirrored = torch.randint(2, (len(images), 1), generator=generator, dtype=torch.bool)
        rows, columns = down + torch.arange(height), torch.arange(width)
        columns = right + torch.where(mirrored, columns.flip(0), columns)
        places = (rows[:, :, None] * padded.shape[-1] + columns[:, None, :]).flatten(1).to(images.device)
        taken = padded.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1))
        return taken.view_as(images), labels
