"""Iterative linearisation: exact limits, and what it promises of the models inside (Goldwaser and Ge, 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import train
from tests.benchmarks.shapes import Linear
from zoo._module import ZooModule
from zoo.mean_field import IterativeLinearisation, TwoLayerReLU

HERE = "tests.mean_field.test_iterative_linearisation"
RELU = {"class_path": "zoo.mean_field.TwoLayerReLU", "init_args": {"in_features": 5, "width": 32, "lr": 0.05}}
LINE = {"class_path": "tests.benchmarks.shapes.Linear", "init_args": {"in_features": 5}}
DATA = {"class_path": "datamodules.OddTarget", "init_args": {"dim": 5, "batch_size": 16, "test_size": 64, "seed": 3}}


class Normalised(Linear):
    """A linear model on normalised inputs, and with that one whose batches do not stand for themselves."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.save_hyperparameters()
        self.norm = nn.BatchNorm1d(in_features)


class Quadratic(ZooModule):
    """f(x) = (w . x)^2 on the data's inputs: its linearisation has a closed form."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.w = nn.Parameter(torch.randn(in_features))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.w).square()

    def step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": (self(batch[0]) - batch[1]).square().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def linearised(model: dict[str, Any], every: int | None, seed: int = 0) -> IterativeLinearisation:
    torch.manual_seed(seed)
    made: IterativeLinearisation = IterativeLinearisation(model, every)
    return made


def trained(model: dict[str, Any], folder: Path, steps: int = 30, data: dict[str, Any] = DATA) -> dict[str, Tensor]:
    """The parameters after some steps in float64, by the harness."""
    config = {"data": data, "model": model, "fit": True, "callbacks": []}
    config["trainer"] = {"max_steps": steps, "precision": "64-true"}
    train.run(config, 0, folder)
    saved = torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    return {n.removeprefix("network."): t for n, t in saved.items() if not n.startswith("base.")}


def wrapped(model: dict[str, Any], every: int | None) -> dict[str, Any]:
    path = "zoo.mean_field.IterativeLinearisation"
    return {"class_path": path, "init_args": {"model": model, "every": every}}


def test_every_step_anew_is_gradient_descent(tmp_path: Path) -> None:
    plain, anew = trained(RELU, tmp_path), trained(wrapped(RELU, 1), tmp_path)
    for name, parameter in plain.items():  # the same numbers by another formula: rounding over 30 steps
        torch.testing.assert_close(anew[name], parameter, rtol=1e-10, atol=1e-12)


def test_a_deep_classifier_with_dropout_and_a_schedule_trains_as_ever(tmp_path: Path) -> None:
    """Any model will do: K = 1 draws the same dropout masks, and ends with the same weights."""
    series = {"class_path": "datamodules.UCR", "init_args": {"name": "ItalyPowerDemand", "batch_size": 16}}
    mlp = {"class_path": "zoo.time_series.MLP", "init_args": {"in_channels": 1, "length": 24, "num_classes": 2}}
    plain, anew = (trained(model, tmp_path, 8, series) for model in (mlp, wrapped(mlp, 1)))
    for name, parameter in plain.items():  # Adadelta divides by roots of small squares: rounding grows a little
        torch.testing.assert_close(anew[name], parameter, rtol=1e-7, atol=1e-9)


def test_a_single_linearisation_is_another_training(tmp_path: Path) -> None:
    plain, frozen = trained(RELU, tmp_path), trained(wrapped(RELU, None), tmp_path)
    assert not torch.allclose(frozen["w"], plain["w"], rtol=1e-3)


@pytest.mark.parametrize("every", [1, 7, None])
def test_a_linear_model_is_trained_alike_for_every_period(every: int | None, tmp_path: Path) -> None:
    """f_lin is f where f is linear in its parameters, whatever theta_b is."""
    plain, other = trained(LINE, tmp_path), trained(wrapped(LINE, every), tmp_path)
    for name, parameter in plain.items():
        torch.testing.assert_close(other[name], parameter, rtol=1e-10, atol=1e-12)


def test_the_linearisation_is_taylors_first_order() -> None:
    """Of (w . x)^2 at b it is (b . x)^2 + 2 (b . x) ((w - b) . x)."""
    model = linearised({"class_path": f"{HERE}.Quadratic", "init_args": {"in_features": 5}}, None).double()
    x = torch.randn(8, 5, dtype=torch.float64)
    base = model.network.w.detach().clone()
    model.network.w.data += torch.randn(5, dtype=torch.float64)
    change = model.network.w - base
    torch.testing.assert_close(model(x), (x @ base) ** 2 + 2 * (x @ base) * (x @ change))
    model.relinearise()
    torch.testing.assert_close(model(x), model.network(x))


def test_its_error_is_of_second_order_in_the_distance() -> None:
    """Halving theta - theta_b quarters f - f_lin: a smooth network's remainder, up to terms of third order."""
    model = linearised({"class_path": f"{HERE}.Quadratic", "init_args": {"in_features": 5}}, None).double()
    x, way = torch.randn(8, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    base, errors = model.network.w.detach().clone(), []
    for size in (1.0, 0.5):
        model.network.w.data = base + size * way
        errors.append((model.network(x) - model(x)).abs().max().detach())
    assert float(errors[1] / errors[0]) == pytest.approx(0.25, rel=1e-9)  # a quadratic has no third-order terms


def test_its_gradient_at_the_base_is_the_models() -> None:
    model = linearised(RELU, None).double()
    batch = torch.randn(16, 5, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    gradients = []
    for step in (model.step, model.network.step):
        model.zero_grad()
        step(batch)["loss"].backward()
        gradients.append([p.grad.clone() for p in model.network.parameters() if p.grad is not None])
    assert len(gradients[0]) == 2
    torch.testing.assert_close(*gradients)


def test_it_is_linearised_again_after_every_kth_step(tmp_path: Path) -> None:
    """After 7 steps with K = 3 theta_b is theta after 6."""
    trained(wrapped(RELU, 3), tmp_path, steps=7)
    saved = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]
    six = trained(wrapped(RELU, 3), tmp_path, steps=6)
    for name, parameter in six.items():
        assert torch.equal(saved[f"base.{name}"], parameter)
        assert not torch.equal(saved[f"network.{name}"], parameter)


def test_the_model_is_itself_outside_a_step() -> None:
    model = linearised(RELU, None)
    model.step((torch.randn(4, 5), torch.randn(4)))
    assert "forward" not in vars(model.network)
    assert isinstance(model.network, TwoLayerReLU)


def test_a_step_past_forward_is_refused_and_not_trained_as_ever() -> None:
    """ReLUEnsemble's loss is of its members' outputs, of which its forward is the mean."""
    entry = {"in_features": 5, "out_features": 5, "width": 8, "members": 2}
    model = linearised({"class_path": "zoo.mean_field.ReLUEnsemble", "init_args": entry}, None)
    with pytest.raises(ValueError, match="model ReLUEnsemble cannot be linearised: its step does not use its forward"):
        model.step((torch.randn(4, 5), torch.randn(4, 5)))


@pytest.mark.parametrize(
    ("model", "every", "message"),
    [
        (RELU, 0, "every must be at least 1 step, or None for a single linearisation, got 0"),
        (
            {"class_path": f"{HERE}.Normalised", "init_args": {"in_features": 5}},
            1,
            "model Normalised cannot be linearised: BatchNorm1d keeps batch statistics",
        ),
        (
            {"class_path": "tests.benchmarks.shapes.TinyGAN", "init_args": {"in_features": 5}},
            1,
            "model TinyGAN cannot be linearised: it has stages or a loop of its own",
        ),
    ],
)
def test_bad_values_are_refused(model: dict[str, Any], every: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linearised(model, every)
