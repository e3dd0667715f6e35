"""What training does to the review's networks: Keras' schedule fed by Lightning, batch statistics."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

import zoo
from datamodules import BatchLoader


class Rates(pl.Callback):
    """Notes the learning rate of every epoch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_the_schedule_follows_the_logged_training_loss() -> None:
    """On zeros with balanced labels the gradient vanishes and the loss stays at ln 2.

    Epoch 0 sets the best loss, epochs 1 to 50 do not improve on it: Keras halves the rate for epoch 51, then every 50
    epochs.
    """
    torch.manual_seed(0)
    model, rates = zoo.create("FCN", in_channels=1, num_classes=2), Rates()
    batch = torch.zeros(4, 1, 8), torch.tensor([0, 1, 0, 1])
    trainer = pl.Trainer(
        max_epochs=103,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        callbacks=[rates],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = BatchLoader(lambda _epoch, _position: batch, 1)
    trainer.fit(model, loader, loader)
    torch.testing.assert_close(trainer.callback_metrics["train/loss"], torch.tensor(2.0).log())
    assert rates.seen == [1e-3] * 51 + [5e-4] * 50 + [2.5e-4] * 2


@pytest.mark.parametrize(("level", "fall", "rate"), [(1000.0, 2e-4, 1e-3), (0.01, 1e-6, 5e-4)])
def test_progress_is_absolute(level: float, fall: float, rate: float) -> None:
    """More than 1e-4 an epoch is progress however high the loss, less is none however low it is."""
    recipe: Any = zoo.create("FCN", in_channels=1, num_classes=2).configure_optimizers()
    for epoch in range(60):
        recipe["lr_scheduler"]["scheduler"].step(level - fall * epoch)
    assert recipe["optimizer"].param_groups[0]["lr"] == rate


@pytest.mark.parametrize("momentum", [0.01, 0.1])
@pytest.mark.parametrize("name", ["FCN", "ResNet1d"])
def test_running_statistics_move_by_the_momentum(name: str, momentum: float) -> None:
    """After one batch: momentum times its mean, and 1 - momentum plus momentum times its unbiased variance."""
    torch.manual_seed(0)
    model = zoo.create(name, in_channels=1, num_classes=2, batchnorm_momentum=momentum)
    seen: dict[nn.Module, torch.Tensor] = {}
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d)]
    for norm in norms:
        norm.register_forward_pre_hook(lambda part, inputs: seen.__setitem__(part, inputs[0].detach()))
    model(torch.randn(6, 1, 20))
    for norm in norms:
        assert norm.eps == 1e-3
        values = seen[norm].transpose(0, 1).flatten(1)
        torch.testing.assert_close(norm.running_mean, momentum * values.mean(1))
        torch.testing.assert_close(norm.running_var, 1 - momentum + momentum * values.var(1))


@pytest.mark.parametrize("name", ["FCN", "ResNet1d"])
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    """In evaluation the running statistics are used; in training those of the batch."""
    torch.manual_seed(0)
    model, x = zoo.create(name, in_channels=1, num_classes=2), torch.randn(6, 1, 20)
    assert not torch.allclose(model(x)[:1], model(x[:1]), atol=1e-3)
    model.eval()
    torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-5, atol=1e-5)  # kernels differ by batch size
