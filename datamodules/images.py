"""Images with class labels: scikit-learn's digits, MNIST and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._files import data_dir, provide
from datamodules._spec import Field, Spec


def _spec(size: int, sizes: dict[str, int]) -> Spec:
    batch = (Field((1, size, size)), Field((), torch.int64, classes=10))
    return Spec(batch, {"in_channels": 1, "in_features": size * size, "num_classes": 10}, sizes, "1")


class Digits(ArrayDataModule):
    """8×8 grey images of handwritten digits that come with scikit-learn, scaled to [0, 1].

    A batch is (image, label) of shapes (B, 1, 8, 8) and (B,). The split is stratified and belongs to the data, not
    to the seed: of each class, in file order, the images 3, 8, 13, … are the validation split, 4, 9, 14, … the test
    split and the others, three in five, the training split (counting from 0).

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (its test part), UCI Machine Learning
    Repository, 1998.
    """

    seeded = False
    libraries = ("sklearn.datasets",)
    citation = """\
@misc{alpaydin1998digits,
  author = {Alpaydin, Ethem and Kaynak, Cenk},
  title = {{Optical Recognition of Handwritten Digits}},
  year = {1998},
  howpublished = {UCI Machine Learning Repository},
  doi = {10.24432/C50P49}
}"""
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")

    def __init__(self, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.save_hyperparameters()

    @property
    def spec(self) -> Spec:
        return _spec(8, {"train": 1085, "val": 357, "test": 355})

    @property
    def preprocessing(self) -> list[list[Any]]:
        return [["divide", 16.0]]

    def load(self, split: str) -> tuple[Tensor, ...]:
        images, labels = self.raw(split)
        return images / 16, labels

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """Images with values 0 … 16, and labels."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        labels = torch.from_numpy(digits.target)
        in_class = torch.nn.functional.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0] - 1
        fifth = in_class % 5
        chosen = {"train": fifth < 3, "val": fifth == 3, "test": fifth == 4}[split]
        images = torch.from_numpy(digits.images).float()
        return images[chosen, None], labels[chosen]


class _Idx(ArrayDataModule):
    """A data set of 60,000 + 10,000 grey 28×28 images in MNIST's file format, as torchvision reads it."""

    seeded = False
    libraries = ("torchvision.datasets",)
    downloads = True
    source: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]
    #: Moments of the training split's pixels in [0, 1].
    mean: ClassVar[float]
    std: ClassVar[float]
    held_back: ClassVar[int] = 5_000

    def __init__(self, batch_size: int = 128, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.save_hyperparameters()

    @property
    def spec(self) -> Spec:
        return _spec(28, {"train": 60_000 - self.held_back, "val": self.held_back, "test": 10_000})

    def _dataset(self, root: Path, **options: bool) -> Any:
        import torchvision

        return getattr(torchvision.datasets, self.source)(root, **options)

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        self._root()

    def _root(self) -> Path:
        names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
        call = f"torchvision.datasets.{self.source}({str(data_dir())!r}, download=True)"
        return provide(
            self.source,
            [f"{self.source}/raw/{name}" for name in names],
            lambda root: self._dataset(root, download=True),
            f'get them with: python -c "import torchvision; {call}"',
        )

    @property
    def preprocessing(self) -> list[list[Any]]:
        return [["divide", 255.0], ["subtract", self.mean], ["divide", self.std]]

    def load(self, split: str) -> tuple[Tensor, ...]:
        images, labels = self.raw(split)
        return images.float().div_(255).sub_(self.mean).div_(self.std), labels

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """Images as in the files, uint8, and labels."""
        whole = self._dataset(self._root(), train=split != "test")
        part = {"train": slice(-self.held_back), "val": slice(-self.held_back, None), "test": slice(None)}[split]
        return whole.data[part, None], whole.targets[part]


class MNIST(_Idx):
    """28×28 grey images of handwritten digits, standardised by the training split's mean and deviation.

    A batch is (image, label) of shapes (B, 1, 28, 28) and (B,). The last 5,000 of the 60,000 training images, in
    file order, are the validation split.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """

    source = "MNIST"
    citation = """\
@article{lecun1998gradient,
  author = {LeCun, Yann and Bottou, Léon and Bengio, Yoshua and Haffner, Patrick},
  title = {{Gradient-based learning applied to document recognition}},
  journal = {Proceedings of the IEEE},
  volume = {86},
  number = {11},
  pages = {2278--2324},
  year = {1998},
  doi = {10.1109/5.726791}
}"""
    class_names = tuple("0123456789")
    mean, std = 0.1307, 0.3082


class MNISTParity(MNIST):
    """A few MNIST images, flat, with the sign of their parity: y = 1 for even digits and -1 for odd ones.

    The training split is `size` of the 55,000 images, drawn by the seed, and comes as one batch (x, y) of shapes
    (size, 784) and (size,). Raises ValueError for a size that the split does not have.
    """

    seeded = True

    def __init__(self, size: int = 1024, seed: int = 0) -> None:
        if not 1 <= size <= 60_000 - self.held_back:
            raise ValueError(f"size must lie between 1 and {60_000 - self.held_back:,}, got {size}")
        super().__init__(size, seed)
        self.save_hyperparameters()
        self.size = size

    @property
    def spec(self) -> Spec:
        sizes = {"train": self.size, "val": self.held_back, "test": 10_000}
        return Spec((Field((784,)), Field()), {"in_features": 784}, sizes, "1")

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """Flat images as in the files, uint8, and the signs."""
        images, labels = super().raw(split)
        if split == "train":
            chosen = torch.randperm(len(images), generator=generator(self.seed, split, 0))[: self.size]
            images, labels = images[chosen], labels[chosen]
        return images.flatten(1), 1.0 - 2.0 * (labels % 2)


class FashionMNIST(_Idx):
    """28×28 grey images of clothes in ten classes, standardised by the training split's mean and deviation.

    A batch is (image, label) of shapes (B, 1, 28, 28) and (B,). The last 5,000 of the 60,000 training images, in
    file order, are the validation split.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", arXiv:1708.07747, 2017.
    """

    source = "FashionMNIST"
    licence = "MIT"
    citation = """\
@misc{xiao2017fashion,
  author = {Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  title = {{Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms}},
  year = {2017},
  eprint = {1708.07747},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/1708.07747}
}"""
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    mean, std = 0.2858, 0.3529
