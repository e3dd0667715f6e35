"""Deep residual networks with scaled layers (Cohen, Cont, Rossier and Xu, 2021), and what is measured along them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from benchmarks.observables.residual.depth_scaling import DepthScaling, measured
from datamodules import OscillatingFlow
from zoo.residual.plateau import StopAtPlateau

SIGMA: dict[str, Any] = {"tanh": torch.tanh, "relu": torch.relu, "linear": lambda value: value}


def made(**hyperparameters: Any) -> Any:
    torch.manual_seed(0)
    return zoo.create("ScaledResNet", **{"in_features": 4, "depth": 7, "scale": 3.0, **hyperparameters}).double()


def recurrence(model: Any, x: Tensor) -> Tensor:
    """All states by the definition, an autograd graph of one layer after the other."""
    states = [x]
    for matrix, shift, factor in zip(model.weight, model.bias, model.factors, strict=True):
        states.append(states[-1] + factor * SIGMA[model.activation](states[-1] @ matrix.T + shift))
    return torch.stack(states)


@pytest.mark.parametrize("init", ["xavier", "xavier-depth"])
@pytest.mark.parametrize("delta", ["none", "shared", "multi"])
@pytest.mark.parametrize("activation", list(SIGMA))
def test_states_and_gradients_are_those_of_the_definition(activation: str, delta: str, init: str) -> None:
    model = made(delta=delta, activation=activation, init=init)
    x = torch.randn(5, 4, dtype=torch.double, requires_grad=True)
    found, expected = model.states(x), recurrence(model, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)  # seven layers' rounding in float64
    towards = torch.randn_like(found)  # states within count too
    inputs = [*model.parameters(), x]
    gradients = [torch.autograd.grad((towards * states).sum(), inputs) for states in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_replicas_share_a_batch_or_have_their_own() -> None:
    models = [made(), made(), made()]
    for scale, model in enumerate(models):
        model.weight.data *= scale
    stacked, _ = torch.func.stack_module_state(models)
    apply: Any = lambda own, x: torch.func.functional_call(models[0], own, (x,))  # noqa: E731
    x = torch.randn(3, 5, 4, dtype=torch.double)
    for axis, given in ((0, x), (None, x[0])):
        found = torch.vmap(apply, in_dims=(0, axis))(stacked, given)
        for number, model in enumerate(models):
            torch.testing.assert_close(found[number], model(x[number] if axis == 0 else x[0]), rtol=1e-12, atol=1e-12)


def test_a_linear_network_is_the_product_of_its_layers() -> None:
    model = made(activation="linear", delta="multi")
    model.bias.data.zero_()
    x, product = torch.randn(5, 4, dtype=torch.double), torch.eye(4, dtype=torch.double)
    for matrix, factor in zip(model.weight, model.delta, strict=True):
        product = (torch.eye(4, dtype=torch.double) + factor * matrix) @ product
    torch.testing.assert_close(model(x), x @ product.T, rtol=1e-12, atol=1e-12)


def test_many_layers_of_one_matrix_solve_a_linear_differential_equation() -> None:
    """(I + A / L)^L x tends to exp(A) x with an error of 1 / L."""
    errors = []
    for depth in (256, 512):
        model = made(activation="linear", delta="shared", depth=depth)
        matrix = torch.randn(4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        model.bias.data.zero_()
        model.weight.data[:] = matrix
        x = torch.eye(4, dtype=torch.double)
        errors.append(float((model(x) - x @ torch.linalg.matrix_exp(matrix).T).detach().norm()))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)  # the next order is 1 / L of it, times ||A||


def test_a_shared_factor_acts_by_its_absolute_value() -> None:
    model, x = made(delta="shared"), torch.randn(5, 4, dtype=torch.double)
    before = model(x)
    model.delta.data.neg_()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize(("init", "divisor"), [("xavier", 1), ("xavier-depth", 1000)])
def test_the_start_has_the_stated_deviations(init: str, divisor: int) -> None:
    model = made(depth=1000, in_features=10, init=init, scale=0.01, delta="multi")
    # 100,000, 10,000 and 1,000 normal numbers: their deviations deviate by .0022, .007 and .022; five times that
    assert float(model.weight.detach().std()) * divisor == pytest.approx(0.001, rel=0.011)
    assert float(model.bias.detach().std()) * divisor == pytest.approx(0.01 / math.sqrt(10), rel=0.035)
    assert float(model.delta.detach().std()) == pytest.approx(1 / 1000, rel=0.11)
    assert float(made(depth=8, delta="shared").delta.detach()) == 1 / 8


def slope(values: dict[int, float]) -> float:
    x = torch.tensor(list(values), dtype=torch.double).log()
    y = torch.tensor(list(values.values()), dtype=torch.double).log()
    x = x - x.mean()
    return float((x @ y) / (x @ x))


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_the_exponents_of_planted_smooth_weights_are_found(beta: float) -> None:
    """W_k = L^-beta k / L W: the largest is L^-beta ||W||, an increment L^(-1 - beta) ||W||."""
    matrix = torch.randn(3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    found: dict[str, dict[int, float]] = {}
    for depth in (64, 256, 1024):
        weights = [depth**-beta * (k / depth) * matrix for k in range(1, depth + 1)]
        for name, value in measured(weights)[0].items():
            found.setdefault(name, {})[depth] = float(value)
    exact = {"max": -beta, "increment": -1 - beta, "roughness": -1.0}
    # sums of k^2 and k are L^3 / 3 and L^2 / 2 up to a factor 1 + O(1 / L), from which a slope differs by 1 / 64
    limits = {"root_sum": 0.5 - beta, "sum": 1 - beta, "spread": 0.5}
    assert {name: slope(found[name]) for name in exact} == pytest.approx(exact, abs=1e-9)
    assert {name: slope(found[name]) for name in limits} == pytest.approx(limits, abs=1 / 64)


def test_increments_of_planted_rough_weights_scale_as_the_weights() -> None:
    """W_k = L^-1/2 N_k with independent N_k: neighbours differ by sqrt(2) of a weight, whatever the depth."""
    found = {}
    for depth in (64, 256, 1024):
        draws = torch.randn(depth, 20, 20, dtype=torch.double, generator=torch.Generator().manual_seed(depth))
        found[depth] = float(measured((draws / math.sqrt(depth)).unbind())[0]["roughness"])
    # a norm of 400 numbers deviates by 1 / 28 of itself; maxima of hundreds are three to four deviations off
    assert list(found.values()) == pytest.approx([math.sqrt(2)] * 3, rel=0.1)


def test_layers_of_other_shapes_and_without_neighbours_are_left_out() -> None:
    one, other = torch.ones(2, 2), torch.ones(3, 2)
    assert measured([one, other, 3 * other])[0].keys() == {"max", "root_sum", "increment", "spread", "roughness"}
    assert float(measured([one, other, 3 * other])[0]["increment"]) == pytest.approx(2 * math.sqrt(6))
    assert measured([one])[0].keys() == {"max", "root_sum", "sum", "spread"}
    assert measured([0 * one])[0].keys() == {"max", "root_sum", "sum"}


def test_what_cannot_be_measured_is_refused() -> None:
    network = zoo.create("ResNet2d", in_channels=1, num_classes=2)
    assert DepthScaling().refusal(network, OscillatingFlow()) == "ResNet2d has no sequences along_depth"
    assert not DepthScaling().refusal(made(), OscillatingFlow())


def epochs(callback: StopAtPlateau, losses: list[float]) -> int:
    """After how many epochs of these losses the training ends."""
    for number, loss in enumerate(losses, 1):
        trainer: Any = SimpleNamespace(callback_metrics={"train/loss": torch.tensor(loss)}, should_stop=False)
        callback.on_train_epoch_end(trainer, made())
        if trainer.should_stop:
            return number
    return 0


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.1, 0.01, 0.0009, 0.0001], 3),  # below the target
        ([0.1, 0.0995, 0.0992, 0.05, 0.0499, 0.0498, 0.0497], 7),  # a gain begins the count anew
        ([0.1, 0.2, 0.0995, 0.5], 4),
        ([0.1, 0.09, 0.08, 0.07, 0.06], 0),
    ],
)
def test_a_training_ends_at_the_target_or_without_gains(losses: list[float], expected: int) -> None:
    assert epochs(StopAtPlateau(patience=3), losses) == expected


def test_a_training_that_goes_on_counts_on() -> None:
    first, again = StopAtPlateau(patience=3), StopAtPlateau(patience=3)
    epochs(first, [0.1, 0.1, 0.1])
    again.load_state_dict(first.state_dict())
    assert epochs(again, [0.1]) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(depth=0), "depth must be at least 1, got 0"),
        (lambda: made(scale=0.0), "scale must be positive, got 0.0"),
        (lambda: made(lr=-1.0), "lr must be positive, got -1.0"),
        (lambda: made(delta="one"), "delta must be one of 'none', 'shared', 'multi', got 'one'"),
        (lambda: made(activation="gelu"), "activation must be one of 'tanh', 'relu', 'linear', got 'gelu'"),
        (lambda: made(init="he"), "init must be one of 'xavier', 'xavier-depth', got 'he'"),
        (lambda: StopAtPlateau(target=0.0), "target must be positive, got 0.0"),
        (lambda: StopAtPlateau(patience=0), "patience must be at least 1, got 0"),
        (lambda: StopAtPlateau(gain=2.0), r"gain must lie in \(0, 1\], got 2.0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
