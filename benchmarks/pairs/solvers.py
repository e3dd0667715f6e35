"""Solutions with fixed steps, forward and backward: by the zoo's integrator, and by a loop written out."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

SOLVES, STEPS, SAMPLES = 20, 20, 128  # solutions that are timed, steps of each, states at once


def ordinary(place: Place) -> tuple[Side, Side]:
    """Kutta's 3/8 rule on a network of 4-64-4, with the gradient of its parameters."""
    import torch

    from zoo._solvers import integrate

    torch.manual_seed(0)
    network, start = _network(place)
    dt = 2.0 / STEPS

    def written_out() -> Any:
        y = start
        for _ in range(STEPS):
            k1 = network(y)
            k2 = network(y + dt / 3 * k1)
            k3 = network(y + dt * (k2 - k1 / 3))
            k4 = network(y + dt * (k1 - k2 + k3))
            y = y + dt / 8 * (k1 + 3 * (k2 + k3) + k4)
        return y

    def ours() -> torch.Tensor:
        return integrate(lambda _t, y: network(y), start, [0.0, 2.0], "rk4", dt).states[-1]

    return lambda: _timed(ours, network), lambda: _timed(written_out, network)


def stochastic(place: Place) -> tuple[Side, Side]:
    """Euler-Maruyama with networks of 4-64-4 as drift and diffusion, with the gradient of their parameters."""
    import torch
    from torch import nn

    from zoo._solvers import SDE, integrate_sde

    torch.manual_seed(0)
    drift, start = _network(place)
    diffusion, _ = _network(place)
    networks = nn.ModuleList([drift, diffusion])
    dt = 2.0 / STEPS
    noise = dt**0.5 * torch.randn(STEPS, *start.shape, device=place.device)
    sde = SDE(lambda _t, y: drift(y), lambda _t, y: diffusion(y))

    def written_out() -> Any:
        y = start
        for increment in noise:
            y = y + drift(y) * dt + diffusion(y) * increment
        return y

    def ours() -> torch.Tensor:
        return integrate_sde(sde, start, [0.0, 2.0], "euler", dt, noise).states[-1]

    return lambda: _timed(ours, networks), lambda: _timed(written_out, networks)


def _network(place: Place) -> tuple[Any, Any]:
    import torch
    from torch import nn

    network = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 4)).to(place.device)
    return network, torch.randn(SAMPLES, 4, device=place.device)


def _timed(solve: Any, network: Any) -> Work:
    begun = time.perf_counter()
    for _ in range(SOLVES):
        network.zero_grad()
        solve().square().mean().backward()
    loss = float(solve().detach().square().mean())
    return Work(time.perf_counter() - begun, SOLVES, SOLVES * SAMPLES, loss=loss)


PAIRS = (
    Pair(
        "solvers/rk4",
        f"{STEPS} steps of rk4 with their gradient, {SAMPLES} states of a 4-64-4 network, beside a loop written out",
        1.05,
        ordinary,
        per="solution",
    ),
    Pair(
        "solvers/euler_maruyama",
        f"{STEPS} steps of Euler-Maruyama with their gradient, {SAMPLES} states of two 4-64-4 networks, beside a loop",
        1.05,
        stochastic,
        per="solution",
    ),
)
