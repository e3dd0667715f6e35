"""Models, data, optimisers and callbacks that cannot train in a stack, each for one reason."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from datamodules import Spec
from tests.benchmarks.stackable import Cloud, Net


class Normalised(Net):
    """Keeps batch statistics."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.norm = nn.BatchNorm1d(in_features)


class Dropped(Net):
    """Draws random numbers in its step."""

    def step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": nn.functional.dropout(self(batch[0]), 0.5).square().mean()}


class Choosing(Net):
    """Has shapes that depend on the data."""

    exceptions = {"meta": "shapes depend on the data"}

    def step(self, batch: Any) -> dict[str, Tensor]:
        error = self(batch[0]) - batch[1]
        return {"loss": error[error > -1e9].square().mean()}


class Hooked(Net):
    """Does something of its own between batches."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.outer.weight.data.clamp_(-1, 1)


class Logging(Net):
    """Logs in its step."""

    def step(self, batch: Any) -> dict[str, Tensor]:
        scalars = super().step(batch)
        self.log("distance", scalars["distance"])
        return scalars


class Recording(Net):
    """Records in its step."""

    def step(self, batch: Any) -> dict[str, Tensor]:
        scalars = super().step(batch)
        self.record("distance", scalars["distance"])
        return scalars


class Searching(Net):
    """Has an optimiser that looks at all parameters together."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(self.parameters())


class Scheduled(Net):
    """Has a schedule that follows a metric."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}


class Listed(Net):
    """Returns lists of optimisers and of schedules."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Scaling(torch.optim.SGD):
    """Divides each parameter's gradient by its norm: derived from an element-wise optimiser, and none."""

    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.grad /= parameter.grad.norm()
        return super().step(closure)


class Scaled(Net):
    """Brings such an optimiser along."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return Scaling(self.parameters(), lr=self.lr)


class Late(Net):
    """Brings one along that takes a trainer to make."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return Scaling(self.parameters(), lr=1 / float(self.trainer.estimated_stepping_batches))


class Replacing(Net):
    """Keeps a moving average, by putting a new tensor in the place of the old one."""

    average: Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.save_hyperparameters()
        self.register_buffer("average", torch.zeros(()))

    def step(self, batch: Any) -> dict[str, Tensor]:
        scalars = super().step(batch)
        self.average = 0.9 * self.average + scalars["loss"].detach()
        return scalars


class ReplacingLater(Net):
    """Puts a tensor in the place of none, when it is evaluated."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.save_hyperparameters()
        self.register_buffer("last", None)

    def step(self, batch: Any) -> dict[str, Tensor]:
        scalars = super().step(batch)
        if not self.training:
            self.last = scalars["loss"].detach()
        return scalars


class Prepared(Net):
    """Sets itself up before it is trained."""

    def setup(self, stage: str) -> None:
        self.scale.fill_(0.0)


class Calling(Net):
    """Brings callbacks along."""

    def configure_callbacks(self) -> list[Any]:
        return []


class Transferred(Cloud):
    """Changes its batches on the device."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return 0 * batch[0], batch[1]


class SetUp(Cloud):
    """Has to be set up before it is loaded."""

    def setup(self, stage: str) -> None:
        self.size = 24


class Loading(Cloud):
    """Has a data loader of its own."""

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*self.load("train")), batch_size=8)


class Ragged(Cloud):
    """Has fewer points for greater seeds."""

    def load(self, split: str) -> tuple[Tensor, ...]:
        x, y = super().load(split)
        return x[self.seed :], y[self.seed :]


class Plain(pl.LightningDataModule):
    """Knows nothing of batches by position."""

    def __init__(self, batch_size: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed

    @property
    def spec(self) -> Spec:
        return Cloud().spec
