"""The mean of infinitely many two-layer ReLU networks of infinite width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from zoo._module import ZooModule
from zoo.mean_field.permutation_kernel import checked, covariance, gram, readout

BLOCK = 2**22  # numbers that are drawn at once, at most


class InfiniteReLUEnsemble(ZooModule):
    """f(x) = Theta(x, X) Theta(X, X)^-1 Y, the mean over networks of infinite width trained to zero error.

    Shapes: x is (N, d), f(x) is (N, out_features); X and Y are the training data, kept in buffers of `samples` rows.
    `kernel` is "ntk" where both layers are trained with equal shares, and "random_features" where the last layer alone
    is trained. In the standard parametrisation with one step size, the last layer's share of the kernel exceeds the
    first one's by the ratio of width to input dimension: wide networks in that parametrisation follow
    "random_features".

    One epoch gathers the data, and its end solves the equations; they are computed in double precision.
    `predictors` draws single networks: Gaussian processes with this mean.

    Raises ValueError for a size below 1 and for another kernel.

    Source: G. Giapitzakis, A. Back de Luca and K. Fountoulakis, "Exact learning of permutations for nonzero binary
    inputs with logarithmic training size and quadratic ensemble complexity", 2025, arXiv:2502.16763.
    """

    exceptions: ClassVar[dict[str, str]] = {"gradients": "solved in closed form"}
    tiny = {"samples": 12}
    vectors: Tensor
    targets: Tensor
    coefficients: Tensor
    gathered: Tensor

    def __init__(self, in_features: int, out_features: int, samples: int, kernel: str = "ntk") -> None:
        super().__init__()
        for name, value in {"in_features": in_features, "out_features": out_features, "samples": samples}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.kernel = checked(kernel)
        self.save_hyperparameters()
        self.automatic_optimization = False
        for name, columns in {"vectors": in_features, "targets": out_features, "coefficients": out_features}.items():
            self.register_buffer(name, torch.zeros(samples, columns, dtype=torch.float64))
        self.register_buffer("gathered", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return (gram(self.kernel, x.double(), self.vectors) @ self.coefficients).to(x.dtype)

    def predictors(self, x: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        """The outputs of `count` networks at the rows of x, in blocks of shape (some, N, out_features)."""
        mean = self(x)
        values, vectors = torch.linalg.eigh(covariance(self.kernel, x.double(), self.vectors[: int(self.gathered)]))
        # the symmetric root: symmetries repeat eigenvalues, whose single vectors are a matter of rounding
        root = (vectors * values.clamp(min=0).sqrt() @ vectors.T).to(x.dtype)
        size = max(1, BLOCK // mean.numel())
        for start in range(0, count, size):
            some = min(size, count - start)
            drawn = torch.randn(some, mean.shape[1], len(x), generator=generator, device=x.device, dtype=x.dtype)
            yield mean + (drawn @ root).mT

    def on_train_epoch_start(self) -> None:
        self.gathered.zero_()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        rows = self.gathered + torch.arange(len(batch[0]), device=self.gathered.device)
        self.vectors.index_copy_(0, rows, batch[0].double())
        self.targets.index_copy_(0, rows, batch[1].double())
        self.gathered += len(rows)

    def on_train_epoch_end(self) -> None:
        own = slice(int(self.gathered))
        self.coefficients.zero_()
        self.coefficients[own] = torch.linalg.solve(
            gram(self.kernel, self.vectors[own], self.vectors[own]), self.targets[own]
        )
        self.trainer.should_stop = True  # a second epoch would find the same

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        prediction = self(x)
        return {"loss": (prediction - y).square().mean(), **readout(prediction, y)}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []
