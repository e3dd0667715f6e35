"""A solution with fixed steps, forward and backward: by the zoo's integrator, and by a loop written out."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

SOLVES, STEPS, SAMPLES = 20, 20, 128  # solutions that are timed, steps of each, states at once


def sides(place: Place) -> tuple[Side, Side]:
    """Kutta's 3/8 rule on a network of 4-64-4, with the gradient of its parameters."""
    import torch
    from torch import nn

    from zoo._solvers import integrate

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 4)).to(place.device)
    start = torch.randn(SAMPLES, 4, device=place.device)
    dt = 2.0 / STEPS

    def field(_t: Any, y: Any) -> Any:
        return network(y)

    def written_out() -> Any:
        y = start
        for _ in range(STEPS):
            k1 = network(y)
            k2 = network(y + dt / 3 * k1)
            k3 = network(y + dt * (k2 - k1 / 3))
            k4 = network(y + dt * (k1 - k2 + k3))
            y = y + dt / 8 * (k1 + 3 * (k2 + k3) + k4)
        return y

    def timed(solve: Any) -> Work:
        begun = time.perf_counter()
        for _ in range(SOLVES):
            network.zero_grad()
            solve().square().mean().backward()
        loss = float(solve().detach().square().mean())
        return Work(time.perf_counter() - begun, SOLVES, SOLVES * SAMPLES, loss=loss)

    return lambda: timed(lambda: integrate(field, start, [0.0, 2.0], "rk4", dt).states[-1]), lambda: timed(written_out)


PAIRS = (
    Pair(
        "solvers/rk4",
        f"{STEPS} steps of rk4 with their gradient, {SAMPLES} states of a 4-64-4 network, beside a loop written out",
        1.05,
        sides,
        per="solution",
    ),
)
