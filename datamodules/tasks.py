"""Many classification tasks on the same inputs, whose labels depend on a few directions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule, generator
from datamodules._spec import Field, Spec

TABLES = 2**31  # the position under which tables are drawn: beyond those of all blocks of batches


class SignPatternTasks(StreamDataModule):
    """Gaussian inputs with binary tasks that see the signs of the first coordinates alone.

        x ~ N(0, I_d),   y_t = table_t[sign x_1, …, sign x_r],   t = 1 … T

    Every table is a random function of the 2^r sign patterns with as many +1 as -1, so that both labels of a task are
    equally likely. The tables belong to the seed. A batch is (x, y) of shapes (B, d) and (B, T), labels ±1. An epoch
    counts `steps_per_epoch` batches of fresh samples.

    `probe` has tasks that no batch shows: they are the same whatever the number of training tasks.

    Raises ValueError for sizes below 1, and for more directions than dimensions.

    Source: L. Collins, H. Hassani, M. Soltanolkotabi, A. Mokhtari and S. Shakkottai, "Provable multi-task
    representation learning by two-layer ReLU neural networks", 2024, arXiv:2307.06887, for tasks whose labels depend on
    r directions; the random tables, d and r are ours.
    """

    citation: ClassVar[str] = """\
@inproceedings{collins2024provable,
  author = {Liam Collins and Hamed Hassani and Mahdi Soltanolkotabi and Aryan Mokhtari and Sanjay Shakkottai},
  title = {{Provable Multi-Task Representation Learning by Two-Layer ReLU Neural Networks}},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  url = {https://arxiv.org/abs/2307.06887}
}"""

    def __init__(
        self,
        dim: int = 50,
        directions: int = 4,
        tasks: int = 16,
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        val_size: int = 2000,
        test_size: int = 2000,
        new_tasks: int = 20,
        new_samples: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"dim": dim, "directions": directions, "tasks": tasks, "steps_per_epoch": steps_per_epoch}
        for name, value in (
            sizes | {"test_size": test_size, "new_tasks": new_tasks, "new_samples": new_samples}
        ).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if directions > dim:
            raise ValueError(f"directions must be at most dim = {dim}, got {directions}")
        self.save_hyperparameters()
        self.dim, self.directions, self.tasks = dim, directions, tasks
        self.new_samples = new_samples
        self.sizes = {"train": steps_per_epoch, "val": val_size, "test": test_size}
        self.tables = self._drawn(tasks, "train")
        self.new_tables = self._drawn(new_tasks, "test")

    @property
    def spec(self) -> Spec:
        arguments = {"in_features": self.dim, "tasks": self.tasks}
        return Spec((Field((self.dim,)), Field((self.tasks,))), arguments, self.sizes, "1")

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return self._labelled(self.tables, size, generator)

    def probe(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The new tasks, on the device: `new_samples` samples to learn them from, and `test_size` others to test them.

        Both are (x, y) of shapes (N, d) and (N, new_tasks).
        """
        pairs = (("val", self.new_samples), ("test", self.sizes["test"]))
        learnt, tested = (self._labelled(self.new_tables, n, generator(self.seed, split, 1)) for split, n in pairs)
        return tuple(t.to(self.device) for t in learnt), tuple(t.to(self.device) for t in tested)

    def _drawn(self, tasks: int, split: str) -> Tensor:
        """Random tables of zero sum, (tasks, 2^r): the ranks of independent numbers, cut in the middle."""
        drawn = torch.rand(tasks, 2**self.directions, generator=generator(self.seed, split, 0, TABLES))
        return (drawn.argsort(dim=1) < 2 ** (self.directions - 1)).float() * 2 - 1

    def _labelled(self, tables: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        x = torch.randn(size, self.dim, generator=generator, device=generator.device)
        places = 2 ** torch.arange(self.directions, device=x.device)
        pattern = ((x[:, : self.directions] > 0) * places).sum(1)
        return x, tables.to(x.device).T[pattern]
