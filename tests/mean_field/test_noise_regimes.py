"""Perceptrons and scaled networks under the noise of SGD (Sclocchi, Geiger and Wyart, 2023)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import train
from datamodules import MNIST, BoundaryPoints, MNISTParity
from zoo.mean_field import NoisyPerceptron, ScaledPredictor
from zoo.mean_field.scaled_predictor import network

PERCEPTRON = "zoo.mean_field.NoisyPerceptron"


@pytest.mark.parametrize("chi", [0.0, 1.0, 2.5])
def test_the_density_near_the_boundary_has_its_exponent(chi: float) -> None:
    """|x_1|^2 / 2 is Gamma((1 + chi) / 2): E x_1^2 = 1 + chi, and P(|x_1| < t) ~ t^(1 + chi)."""
    x, y = BoundaryPoints(size=200_000, dim=2, chi=chi, test_size=1).load("train")
    assert torch.equal(y, x[:, 0].sign())
    deviation = math.sqrt(2 * (1 + chi) / len(x))  # of the mean of x_1^2, whose variance is 2 (1 + chi)
    assert float(x[:, 0].square().mean()) == pytest.approx(1 + chi, abs=5 * deviation)
    near = [(x[:, 0].abs() < t).double().mean() for t in (0.1, 0.4)]
    # the density is a power times exp(-x^2 / 2): within 8 % of a power up to 0.4; counts of over 60 points
    assert float((near[1] / near[0]).log() / math.log(4)) == pytest.approx(1 + chi, abs=0.4 if chi > 2 else 0.1)


def made(kind: type, *args: Any, **hyperparameters: Any) -> Any:
    torch.manual_seed(0)
    return kind(*args, **hyperparameters).double()


def signed(count: int, dim: int = 8) -> Tensor:
    x, y = BoundaryPoints(size=count, dim=dim, test_size=1).load("train")
    return (y[:, None] * x).double() / math.sqrt(dim)


def test_a_step_is_minus_the_gradient_of_the_hinge_loss() -> None:
    model = made(NoisyPerceptron, 8, lr=0.7)
    with torch.no_grad():
        model.w.normal_()
    points = signed(16)
    x, before = points * math.sqrt(8), model.w.detach().clone()
    model.step((x, torch.ones(16, dtype=torch.float64)))["loss"].backward()
    with torch.no_grad():
        model.descend(points)
    torch.testing.assert_close(model.w.detach() - before, -0.7 * model.w.grad)


def test_weights_scale_with_step_and_margin_together() -> None:
    """w -> c w is a symmetry of the hinge loss with margin -> c margin: the reason why |w| ~ T where T rules."""
    small, large = made(NoisyPerceptron, 8, lr=1.0, margin=0.5), made(NoisyPerceptron, 8, lr=4.0, margin=2.0)
    points = signed(256).view(64, 4, 8)
    with torch.no_grad():
        for some in points:
            small.descend(some)
            large.descend(some)
    assert torch.equal(large.w, 4 * small.w)  # a power of two: exact in binary


def test_noise_vanishes_with_the_temperature() -> None:
    """At a fixed time the mean squared distance to gradient descent falls as T = lr / B: tenfold B, a tenth of it."""
    points = signed(128)
    exact, noisy = made(NoisyPerceptron, 8, lr=0.05), {}
    with torch.no_grad():
        for _ in range(40):
            exact.descend(points)
        for size in (4, 40):
            generator, distances = torch.Generator().manual_seed(1), []
            for _ in range(100):
                model = made(NoisyPerceptron, 8, lr=0.05)
                for _ in range(40):
                    model.descend(points[torch.randint(128, (size,), generator=generator)])
                distances.append((model.w - exact.w).square().sum())
            noisy[size] = torch.stack(distances).mean()
    # a mean of 100 squared norms in 8 dimensions has a relative error of about sqrt(2 / 8 / 100) = 5 %; four of both
    assert float(noisy[4] / noisy[40]) == pytest.approx(10, rel=0.28)


def test_a_training_ends_with_every_margin_kept_and_not_before(tmp_path: Path) -> None:
    data = {"class_path": "datamodules.BoundaryPoints", "init_args": {"size": 64, "dim": 8, "test_size": 50, "seed": 2}}
    model = {"class_path": PERCEPTRON, "init_args": {"in_features": 8, "minibatch": 2, "lr": 4.0}}
    config = {"data": data, "model": model, "fit": True, "callbacks": [], "trainer": {"max_epochs": 500}}
    outcome = train.run(config, 1, tmp_path)
    trained = NoisyPerceptron.load_from_checkpoint(tmp_path / "checkpoint.ckpt", weights_only=True)
    x, y = BoundaryPoints(size=64, dim=8, test_size=50, seed=2).load("train")
    assert float((y * trained(x)).min().detach()) >= 1
    assert outcome.metrics["test/training_loss"] == 0
    epochs = outcome.metrics["test/training_time"] / (4.0 * 32)
    assert epochs == int(epochs) > 1
    shorter = train.run(config | {"trainer": {"max_epochs": int(epochs) - 1}}, 1, tmp_path)
    assert shorter.metrics["test/training_loss"] > 0


def test_the_scaled_predictor_starts_at_zero_and_is_the_change() -> None:
    model = made(ScaledPredictor, 6, widths=[16, 16], alpha=7.0)
    x = torch.randn(20, 6, dtype=torch.float64)
    assert torch.equal(model(x), torch.zeros(20, dtype=torch.float64))
    with torch.no_grad():
        for weight in model.weights:
            weight.add_(torch.randn_like(weight), alpha=0.1)
    torch.testing.assert_close(model(x), 7.0 * (network(list(model.weights), x) - network(model.start, x)))


def test_the_network_keeps_the_size_of_its_input() -> None:
    """E f(w, x)^2 = |x|^2 / d over the initial weights at every depth: sqrt(2) makes up for the half that relu cuts."""
    x = torch.randn(1, 40, dtype=torch.float64)
    torch.manual_seed(1)
    squares = [network(list(ScaledPredictor(40, [50, 50]).double().weights), x).square() for _ in range(2000)]
    # given the last layer f is Gaussian: f^2 has a relative variance of 2, and of 3 with the layers' own fluctuation
    assert float(torch.stack(squares).mean().detach() / x.square().mean()) == pytest.approx(
        1, abs=5 * (3 / 2000) ** 0.5
    )


def trajectory(alpha: float, model: Any, steps: int = 20) -> Tensor:
    """alpha (w - w_0) of the first layer after full-batch steps on fixed points."""
    torch.manual_seed(3)
    x, y = torch.randn(32, 6, dtype=torch.float64), torch.randn(32, dtype=torch.float64).sign()
    for _ in range(steps):
        model.descend(x, y, network(model.start, x))
    return alpha * (model.weights[0] - model.start[0]).detach()


def test_the_lazy_limit_is_the_frozen_kernel_with_an_error_of_order_one_over_alpha() -> None:
    """u = alpha (w - w_0) tends to the training of F's linearisation at w_0; ten times alpha, a tenth of the error."""
    arguments = {"in_features": 6, "widths": [64], "lr": 0.5}
    limit = trajectory(1e9, made(ScaledPredictor, alpha=1e9, **arguments))
    errors = [(trajectory(a, made(ScaledPredictor, alpha=a, **arguments)) - limit).norm() for a in (1e3, 1e4)]
    # of relative size 1 / alpha up to the kinks of relu that a change of 1 / alpha crosses, few at these alphas
    assert float(errors[0] / errors[1]) == pytest.approx(10, rel=0.5)
    assert float(errors[1] / limit.norm()) < 1e-2


def test_a_lazy_predictor_is_linear_in_its_change() -> None:
    """F = alpha J (w - w_0) + O(1 / alpha), with J the derivatives at w_0."""
    model = made(ScaledPredictor, 6, widths=[64], alpha=1e6, lr=0.5)
    trajectory(1e6, model)
    x = torch.randn(50, 6, dtype=torch.float64)
    start, weighting = [w.clone().requires_grad_() for w in model.start], torch.zeros(50, dtype=torch.float64)
    back = torch.autograd.grad(network(start, x), start, weighting.requires_grad_(), create_graph=True)
    change = [(w - s).detach() for w, s in zip(model.weights, model.start, strict=True)]
    forward = torch.autograd.grad(sum((b * c).sum() for b, c in zip(back, change, strict=True)), weighting)[0]
    torch.testing.assert_close(model(x).detach(), 1e6 * forward, rtol=1e-4, atol=1e-4)


def test_parity_is_the_sign_of_even_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(20, dtype=torch.uint8).repeat_interleave(784).view(20, 1, 28, 28)
    monkeypatch.setattr(MNIST, "raw", lambda *_: (images, torch.arange(20) % 10))
    x, y = MNISTParity(size=20).load("train")
    digits = torch.round((x[:, 0] * 0.3082 + 0.1307) * 255)
    assert torch.equal(y, torch.where(digits % 2 == 0, 1.0, -1.0))
    one, other = (MNISTParity(size=5, seed=seed).load("train")[0] for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (NoisyPerceptron, {"minibatch": 0}, "minibatch must be at least 1, got 0"),
        (NoisyPerceptron, {"lr": 0.0}, "lr must be positive, got 0.0"),
        (NoisyPerceptron, {"margin": -1.0}, "margin must be positive, got -1.0"),
        (ScaledPredictor, {"alpha": 0.0}, "alpha must be positive, got 0.0"),
        (ScaledPredictor, {"widths": []}, r"widths must be at least 1, got \[\]"),
        (ScaledPredictor, {"widths": [8, 0]}, r"widths must be at least 1, got \[8, 0\]"),
    ],
)
def test_bad_values_of_models_are_refused(kind: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(4, **arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (BoundaryPoints, {"dim": 1}, "dim must be at least 2, got 1"),
        (BoundaryPoints, {"size": 0}, "size must be at least 1, got 0"),
        (BoundaryPoints, {"chi": -1.0}, "chi must be above -1, where"),
        (MNISTParity, {"size": 60_000}, "size must lie between 1 and 55,000, got 60000"),
    ],
)
def test_bad_values_of_data_are_refused(kind: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
