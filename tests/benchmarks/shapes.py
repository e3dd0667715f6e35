"""One small model for each shape of training that the harness serves."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datamodules import ArrayDataModule, Field, Spec
from zoo._module import ZooModule
from zoo._stages import Stage


class Line(ArrayDataModule):
    """y = 2 x_1 - x_2 + noise on fixed points."""

    def __init__(self, size: int = 64, batch_size: int = 16, seed: int = 0, drop_last: bool = False) -> None:
        super().__init__(batch_size, seed, drop_last)
        if size < 4:
            raise ValueError(f"size must be at least 4, got {size}")
        self.size = size

    @property
    def spec(self) -> Spec:
        sizes = {"train": self.size, "val": self.size, "test": self.size}
        return Spec((Field((2,)), Field()), {"in_features": 2}, sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(("train", "val", "test").index(split))
        x = torch.randn(self.size, 2, generator=generator)
        return x, x @ torch.tensor([2.0, -1.0]) + 0.1 * torch.randn(self.size, generator=generator)


class Linear(ZooModule):
    """Supervised: least squares by gradient descent, with dropout so that random states matter."""

    def __init__(self, in_features: int, lr: float = 0.1, dropout: float = 0.0) -> None:
        super().__init__()
        if lr <= 0:
            raise ValueError(f"lr must be positive, got {lr}")
        self.save_hyperparameters()
        self.lr = lr
        self.dropout, self.line = nn.Dropout(dropout), nn.Linear(in_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(self.dropout(x)).squeeze(-1)

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": (self(x) - y).square().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Autoencoder(ZooModule):
    """The first stage of `Staged`: reconstructs the inputs through one number."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder, self.decoder = nn.Linear(in_features, 1), nn.Linear(1, in_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": (self.decoder(self(batch[0])) - batch[0]).square().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Head(ZooModule):
    """The second stage of `Staged`: a regression on the frozen code."""

    def __init__(self, encoder: Autoencoder) -> None:
        super().__init__()
        self.encoder, self.line = encoder, nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            code = self.encoder(x)
        return self.line(code).squeeze(-1)

    def step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": (self(batch[0]) - batch[1]).square().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.line.parameters(), lr=0.1)


class Staged(ZooModule):
    """Stages: an autoencoder on half of the data's epochs, then a head on its code."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.autoencoder = Autoencoder(in_features)
        self.head = Head(self.autoencoder)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)

    def step(self, batch: Any) -> dict[str, Tensor]:
        return self.head.step(batch)

    def stages(self) -> Sequence[Stage]:
        return (
            Stage("autoencoder", self.autoencoder, trainer={"max_epochs": 2}),
            Stage("head", self.head, data=lambda data: Line(data.hparams.get("size", 64), batch_size=8)),
        )


class TinyGAN(ZooModule):
    """Own loop: generator and critic in turn, by manual optimisation."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator, self.critic = nn.Linear(1, in_features), nn.Linear(in_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.critic(x)

    def fake(self, like: Tensor) -> Tensor:
        return self.generator(torch.randn(len(like), 1, device=like.device))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x = batch[0]
        critic, generator = self.optimizers()  # type: ignore[attr-defined]
        loss = self(self.fake(x).detach()).mean() - self(x).mean()
        self._descend(critic, loss)
        adversary = -self(self.fake(x)).mean()
        self._descend(generator, adversary)
        self.log_scalars("train", {"loss": loss, "adversary": adversary}, len(x))

    def _descend(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def step(self, batch: Any) -> dict[str, Tensor]:
        x = batch[0]
        return {"loss": (self.fake(x).mean(0) - x.mean(0)).norm()}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(part.parameters(), lr=0.01) for part in (self.critic, self.generator)]


class Ridge(ZooModule):
    """Closed form: the normal equations gathered over one epoch, solved at its end."""

    exceptions: ClassVar[dict[str, str]] = {"gradients": "solved in closed form"}
    gram: Tensor
    moment: Tensor
    weight: Tensor

    def __init__(self, in_features: int, ridge: float = 1e-6) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.ridge = ridge
        self.register_buffer("gram", torch.zeros(in_features, in_features))
        self.register_buffer("moment", torch.zeros(in_features))
        self.register_buffer("weight", torch.zeros(in_features))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.gram += x.T @ x
        self.moment += x.T @ y

    def on_train_epoch_end(self) -> None:
        identity = torch.eye(len(self.gram), device=self.gram.device)
        self.weight.copy_(torch.linalg.solve(self.gram + self.ridge * identity, self.moment))

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": (self(x) - y).square().mean()}

    def configure_optimizers(self) -> None:
        return None


class Saliency(ZooModule):
    """Per input at test time: gradients of a frozen model's output, for a whole batch; nothing is fitted."""

    inference_mode = False

    def __init__(self, in_features: int, explained: dict[str, Any]) -> None:
        import zoo

        super().__init__()
        self.save_hyperparameters()
        self.explained = zoo.restore(explained).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.explained(x).sum(), x)[0]

    def test_step(self, batch: Any, batch_idx: int) -> None:
        gradient = self(batch[0])
        self.record("gradient", gradient)
        self.log_scalars("test", {"first": gradient[:, 0].mean(), "second": gradient[:, 1].mean()}, len(gradient))


class Pendulum(ZooModule):
    """Simulation only: a symplectic integrator on the data's initial states; its energy drift is the metric."""

    def __init__(self, in_features: int, steps: int = 100, dt: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.steps, self.dt = steps, dt

    def forward(self, x: Tensor) -> Tensor:
        angle, speed = x.unbind(-1)
        for _ in range(self.steps):
            speed = speed - self.dt * angle
            angle = angle + self.dt * speed
        return torch.stack([angle, speed], -1)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        x = batch[0]
        energy, after = x.square().sum(-1) / 2, self(x).square().sum(-1) / 2
        self.record("energy", torch.stack([energy, after]))
        self.log_scalars("test", {"drift": ((after - energy) / energy).abs().max()}, len(x))


class Misbehaving(Linear):
    """Fails in the way that `how` names."""

    def __init__(self, in_features: int, how: str = "exception") -> None:
        super().__init__(in_features)
        self.save_hyperparameters()
        self.how = how

    def on_train_start(self) -> None:
        import os
        import signal
        import time

        if self.how == "exception":
            raise RuntimeError("this model always fails")
        if self.how == "memory":
            torch.empty(2**60)
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "slow":
            time.sleep(600)

    def step(self, batch: Any) -> dict[str, Tensor]:
        scalars = super().step(batch)
        return {"loss": scalars["loss"] * float("nan")} if self.how == "nan" else scalars


class FirstStep(Linear):
    """Starts at zero and logs how far training moved the weights."""

    def __init__(self, in_features: int, lr: float = 0.1) -> None:
        super().__init__(in_features, lr)
        self.save_hyperparameters()
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log_scalars("test", {"moved": self.line.weight.norm()}, len(batch[0]))


def spread(results: Sequence[Any]) -> list[dict[str, Any]]:
    """A summary over seeds: the range of each model's test loss."""
    rows = []
    for model in dict.fromkeys(result.model for result in results):
        losses = [result.metrics["test/loss"] for result in results if result.model == model]
        rows.append(
            {"model": model, "point": {}, "n": len(losses), "metrics": {"summary/spread": max(losses) - min(losses)}}
        )
    return rows


def no_figure(results: Sequence[Any]) -> None:
    """A figure that cannot be drawn."""
    raise RuntimeError("cannot draw")


class Paced(Linear):
    """A linear model with dropout whose steps take a while, so that an interruption finds it at work.

    How long does not change its Runs where the environment says it: `PAUSE`, in seconds.
    """

    def __init__(self, in_features: int, lr: float = 0.01, dropout: float = 0.2, pause: float = 0.01) -> None:
        super().__init__(in_features, lr, dropout)
        self.save_hyperparameters()
        self.pause = pause

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        time.sleep(float(os.environ.get("PAUSE", self.pause)))
