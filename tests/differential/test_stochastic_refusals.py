"""What the stochastic solvers, and the models and data that measure them, refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datamodules import BrownianPaths
from tests.differential.equations import growth, network
from zoo._solvers import REFUSED, SDE, Increments, integrate_sde
from zoo.differential import AdjointSDE, GeometricBrownianMotion


def solve(sde: SDE | None = None, **how: Any) -> Tensor:
    arguments: dict[str, Any] = {"y0": torch.ones(2, 1), "times": [0.0, 1.0], "step": 0.5}
    return integrate_sde(sde or growth(), **(arguments | how)).states


@pytest.mark.parametrize(
    ("sde", "how", "message"),
    [
        (
            growth(),
            {"method": "heun"},
            "'heun' does not converge to the solution in the sense of Ito; .* euler, milstein",
        ),
        (growth("stratonovich"), {}, "'euler' does not converge .* Stratonovich; choose one of heun, midpoint"),
        (growth(), {"method": "sri"}, "method must be one of 'euler', 'milstein', 'srk', 'heun'"),
        (growth(), {"adjoint": True}, "adjoint needs a Stratonovich equation, got calculus 'ito': convert the drift"),
        (growth(), {"times": [0.0, 0.0]}, r"increase strictly: times\[1\] = 0 follows 0"),
        (growth(), {"step": 2.0}, "at most the interval, 1, got 2"),
        (growth(), {"noise": torch.ones(3, 2, 1)}, "an increment for each of 2 steps, got 3"),
        (growth(), {"noise": torch.ones(2, 2, 1), "method": "srk"}, "must hold areas beside its steps for srk"),
        (growth(), {"noise": torch.ones(2, 1, 1)}, r"noise must be \(2, 2, 1\) of torch.float32, got \(2, 1, 1\) of"),
        (growth(), {"noise": torch.ones(2, 2, 1).double()}, r"got \(2, 2, 1\) of torch.float64"),
        (growth(), {"noise": Increments(torch.ones(2, 2, 1), torch.ones(2, 2))}, r"got \(2, 2\) of torch.float32"),
        (growth(), {"y0": torch.ones(2, 1, dtype=torch.int64)}, "y0 must be of a floating dtype, got torch.int64"),
        (SDE(lambda _t, y: y.expand(2, 3), lambda _t, y: y), {}, r"keep the state's shape \(2, 1\), got \(2, 3\)"),
        (growth(), {"noise": True}, "noise must be increments or a seed of at least 0, got True"),
        (growth(), {"noise": -1, "method": "srk"}, "a seed of at least 0, got -1"),
        (growth(), {"times": [-math.inf, 0.0]}, "increase strictly"),
        (growth(), {"y0": torch.ones(2), "method": "srk"}, r"y0 must be \(N, d\) for method 'srk', got shape \(2,\)"),
        (
            SDE(lambda _t, y: y, lambda _t, y: y, noise="scalar"),
            {"y0": torch.ones(2, 3)},
            r"must be \(..., d, 1\) for scalar",
        ),
        (
            SDE(lambda _t, y: y, lambda _t, y: y[..., None]),
            {},
            r"must be \(..., d\) for diagonal noise, got \(2, 1, 1\)",
        ),
        (network("ito", "scalar"), {"prior": lambda _t, y: y}, "prior needs diagonal noise, got 'scalar'"),
        (network("ito", "general", 1), {"method": "srk"}, "'srk' is refused for general noise, it needs Levy areas"),
        (network("ito", "general", 1), {"method": "milstein"}, "'milstein' is refused for general noise"),
    ],
)
def test_what_cannot_be_solved_is_refused(sde: SDE, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(sde, **how)


@pytest.mark.parametrize("method", REFUSED)
def test_solvers_that_are_wrong_for_noise_are_refused_with_the_reason(method: str) -> None:
    with pytest.raises(ValueError, match=f"{method}' is refused, it"):
        solve(method=method)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calculus": "backward"}, "calculus must be one of 'ito', 'stratonovich'"),
        ({"noise": "white"}, "noise must be one of 'diagonal'"),
        ({"noise": "general"}, "channels must be given for general noise"),
        ({"noise": "additive", "channels": 0}, "channels must be at least 1"),
    ],
)
def test_bad_equations(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SDE(lambda _t, y: y, lambda _t, y: y, **arguments)


def test_what_needs_derivatives_says_so_in_inference_mode() -> None:
    with torch.inference_mode():
        with pytest.raises(RuntimeError, match=r"milstein needs derivatives: leave torch\.inference_mode"):
            solve(method="milstein")
        with pytest.raises(RuntimeError, match="adjoint needs derivatives"):
            solve(network(), y0=torch.ones(2, 3).double(), method="heun", adjoint=True)


def test_the_adjoint_seeks_parameters_in_modules_alone() -> None:
    layer = nn.Linear(3, 3)

    def closure(_t: Any, y: Tensor) -> Tensor:
        out: Tensor = layer(y)
        return out

    for drift, diffusion, name in ((closure, layer, "drift"), (layer, closure, "diffusion")):
        with pytest.raises(TypeError, match=rf"{name} must be an nn\.Module for the adjoint, got function"):
            solve(SDE(drift, diffusion, "stratonovich"), y0=torch.ones(2, 3), method="heun", adjoint=True)
    with pytest.raises(TypeError, match=r"prior must be an nn\.Module for the adjoint"):
        solve(network(), y0=torch.ones(2, 3).double(), method="heun", adjoint=True, prior=lambda _t, y: y)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (
            GeometricBrownianMotion,
            {"fine_steps": 64, "steps": 48},
            "steps must divide the 64 fine_steps of the path, got 48",
        ),
        (GeometricBrownianMotion, {"fine_steps": 64, "method": "rk4"}, "'rk4' is refused"),
        (GeometricBrownianMotion, {"fine_steps": 64, "volatility": -1.0}, "volatility must not be negative"),
        (AdjointSDE, {"in_features": 2, "method": "euler"}, "'euler' does not converge"),
        (AdjointSDE, {"in_features": 2, "steps": 0}, "steps must be at least 1"),
    ],
)
def test_bad_models(model: Callable[..., nn.Module], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**arguments)


@pytest.mark.parametrize("argument", ["dim", "fine_steps", "steps_per_epoch", "test_size"])
def test_bad_paths(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be at least 1, got 0"):
        BrownianPaths(**{argument: 0})
