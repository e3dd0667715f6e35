"""How two networks train against each other: the loop and its steps written out, bounds, means of weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.selection import FiniteLoss
from tests.stochastic.adversary import N, T, Weights, batch, fit, made, trained
from zoo.stochastic._optimistic import OptimisticAdam


def test_every_weight_of_the_critic_is_within_its_bound_after_every_step() -> None:
    _, weights = trained(critic_lr=0.3)
    assert len(weights.steepest) == 8
    # a bound 1/n is rounded, and so is its product with n
    assert max(weights.steepest) == pytest.approx(1.0, abs=1e-6)
    _, free = trained(critic_lr=0.3, clip=False)
    assert max(free.steepest) > 2


@pytest.mark.parametrize("averaged", [0.5, 1.0, 0.0])
def test_the_average_is_the_mean_of_the_weights_after_the_last_steps(averaged: float) -> None:
    model, weights = trained(averaged=averaged)
    last = weights.kept[8 - max(1, int(8 * averaged)) :]
    for mean, own in zip(model.average.parameters(), zip(*last, strict=True), strict=True):
        torch.testing.assert_close(mean, torch.stack(own).mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "falling"), [("optimistic", True), ("adadelta", False)])
def test_training_is_the_loop_written_out(name: str, falling: bool) -> None:
    """As in torchsde's example: two optimisers, and the generator's gradient with its sign changed."""
    steps = {"optimistic": OptimisticAdam, "adadelta": torch.optim.Adadelta}[name]
    rates, scale, decay, count = (0.02, 0.05), 0.5, 0.1, 4
    given = {"optimizer": name, "falling": falling, "lr": rates[0], "critic_lr": rates[1], "weight_decay": decay}
    model, watch = made(scale=scale, averaged=0.5, **given), Weights()
    parts = generator, critic = copy.deepcopy(model.generator), copy.deepcopy(model.critic)
    batches = [batch(seed=k) for k in range(count)]
    fit(model, batches, watch)
    optimizers = [steps(part.parameters(), lr=1.0, weight_decay=decay) for part in parts]
    kept = []
    for k, (paths, *noise) in enumerate(batches):
        loss = critic(generator(*noise)).mean() - critic(paths / scale).mean()
        assert watch.losses[k] == pytest.approx(float(loss.detach()), rel=1e-9)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for weight in generator.parameters():
            weight.grad.neg_()
        now = [rate * (count - k) / count if falling else rate for rate in rates]
        assert watch.rates[k] == pytest.approx(now, rel=1e-12)
        for optimizer, rate in zip(optimizers, now, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        for linear in (part for part in critic.modules() if isinstance(part, nn.Linear)):
            linear.weight.data.clamp_(-1 / linear.out_features, 1 / linear.out_features)
        kept.append([weight.detach().clone() for weight in generator.parameters()])
    mean = [(a + b) / 2 for a, b in zip(*kept[2:], strict=True)]
    for ours, theirs in ((model.generator, kept[-1]), (model.critic, critic.parameters()), (model.average, mean)):
        for a, b in zip(ours.parameters(), theirs, strict=True):
            torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-8, atol=1e-10)


def optimistic(w: float, slopes: list[float], rate: float, decay: float) -> float:
    square = last = 0.0
    for k, slope in enumerate(slopes, 1):
        g = slope + decay * w
        square = 0.99 * square + 0.01 * g * g
        u = g / (math.sqrt(square / (1 - 0.99**k)) + 1e-8)
        w, last = w - rate * (2 * u - (last if k > 1 else u)), u
    return w


def adadelta(w: float, slopes: list[float], rate: float, decay: float) -> float:
    """M. D. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, with a rate and torch's 0.9 and 1e-6."""
    square = moved = 0.0
    for slope in slopes:
        g = slope + decay * w
        square = 0.9 * square + 0.1 * g * g
        step = math.sqrt(moved + 1e-6) / math.sqrt(square + 1e-6) * g
        moved = 0.9 * moved + 0.1 * step * step
        w -= rate * step
    return w


@pytest.mark.parametrize("formula", [optimistic, adadelta])
def test_steps_are_those_of_their_formula(formula: Callable[..., float]) -> None:
    """By arithmetic with single numbers, with weight decay, each network at its rate."""
    model, slopes = made(optimizer=formula.__name__, lr=0.1, critic_lr=0.3, weight_decay=0.2), [0.5, -0.2, 0.3]
    optimizer = model.configure_optimizers()
    before = {weight: float(weight.detach().flatten()[0]) for weight in model.parameters()}
    for slope in slopes:
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.full_like(weight, slope)
        optimizer.step()
    for part, rate in ((model.generator, 0.1), (model.critic, 0.3)):
        for weight in part.parameters():
            expected = formula(before[weight], slopes, rate, 0.2)
            assert float(weight.detach().flatten()[0]) == pytest.approx(expected, rel=1e-9)


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    broken = [batch(), (torch.full((N, T, 1), math.nan).double(), *batch()[1:]), batch()]
    with pytest.raises(FloatingPointError, match="the loss is nan at step 2"):
        fit(made(), broken, FiniteLoss(every=1))


def test_optimistic_steps_reach_a_saddle_from_which_plain_ones_run_away() -> None:
    """The saddle of x y is at 0, and the steps of either player are perpendicular to the way there."""

    def distance(beta_1: float | None) -> float:
        x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, 0.2))
        steps: Any = (
            OptimisticAdam([x, y], lr=1e-2, beta_2=0.999)
            if beta_1 is None
            else torch.optim.Adam([x, y], lr=1e-2, betas=(beta_1, 0.999))
        )
        for _ in range(3000):
            gx, gy = y.detach().clone(), -x.detach().clone()
            x.grad, y.grad = gx, gy
            steps.step()
        return math.hypot(float(x.detach()), float(y.detach()))

    assert distance(None) < 0.1 * math.hypot(0.3, 0.2) < distance(0.0)
