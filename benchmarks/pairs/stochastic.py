"""Training steps of a stable neural SDE: beside a loop written out, beside torchsde, and a whole epoch of records."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

STEPS, SAMPLES, CHANNELS = 200, 128, 4  # Euler steps between the knots of a series, series at once, channels of each
TRAININGS = 5  # steps of training that are timed


def batch(place: Place) -> tuple[Any, ...]:
    """Complete random walks on [0, 1], and labels."""
    import torch

    draw = torch.Generator().manual_seed(0)
    values = torch.randn(SAMPLES, STEPS + 1, CHANNELS, generator=draw).cumsum(1) / STEPS**0.5
    times = torch.linspace(0, 1, STEPS + 1).repeat(SAMPLES, 1)
    labels = torch.arange(SAMPLES) % 2
    return tuple(t.to(place.device) for t in (values, torch.ones_like(values, dtype=torch.bool), times, labels))


def sides(other: Callable[[Any, Any], Any], place: Place) -> tuple[Side, Side]:
    """The model's own step of training, and one in which another function of the series gives the last states."""
    import torch
    from torch.nn.functional import cross_entropy

    from zoo.stochastic import LangevinSDE

    torch.manual_seed(0)
    model = LangevinSDE(CHANNELS, num_classes=2).to(place.device)
    values, mask, times, labels = batch(place)

    def theirs() -> Any:
        x = torch.cat([times[..., None], values], -1)  # what a Hermite path has at its knots
        return cross_entropy(model.readout(other(model, x)), labels)

    def ours() -> Any:
        return model.step((values, mask, times, labels))["loss"]

    return lambda: trained(model, ours), lambda: trained(model, theirs)


def written_out(model: Any, x: Any) -> Any:
    """dz = gamma(C [z, X]) dt + sigma(t) dW by Euler's method, X known at every step."""
    import torch

    dt, z = 1 / STEPS, model.start(x[:, 0])
    for now in x[:, :-1].unbind(1):
        drift = model.rate(model.joined(torch.cat([model.state(z), model.series(now)], -1)))
        z = z + dt * drift + dt**0.5 * model.noise(now[:, :1]) * torch.randn_like(z)
    return z


def by_torchsde(model: Any, x: Any) -> Any:
    """The same equation by `torchsde.sdeint`, whose method, Brownian motion and gradient are its defaults."""
    import torch
    from torchsde import sdeint

    class Equation(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: Any, z: Any) -> Any:
            now = x[:, round(float(t) * STEPS)]
            return model.rate(model.joined(torch.cat([model.state(z), model.series(now)], -1)))

        def g(self, t: Any, z: Any) -> Any:
            return model.noise(x[:, round(float(t) * STEPS), :1])

    times = torch.tensor([0.0, 1.0], device=x.device)
    return sdeint(Equation(), model.start(x[:, 0]), times, dt=1 / STEPS, method="euler")[-1]


def trained(model: Any, loss: Callable[[], Any]) -> Work:
    """Some steps of training, each with its gradient and the optimiser's step, from the same weights."""
    import copy

    weights = copy.deepcopy(model.state_dict())
    optimizer = model.configure_optimizers()
    begun = time.perf_counter()
    for _ in range(TRAININGS):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    seconds = time.perf_counter() - begun
    model.load_state_dict(weights)
    return Work(seconds, TRAININGS, TRAININGS * SAMPLES)


def records(place: Place) -> tuple[Side, None]:
    """An epoch of 6,400 stays in intensive care through the harness, at all their times."""
    from benchmarks.pairs import _harness

    settings = _harness.config(
        "datamodules.PhysioNet2012",
        "zoo.stochastic.LinearNoiseSDE",
        arguments={"in_channels": 44, "num_classes": 2, "variant": "benchmark", "horizon": 48.0},
        data_arguments={"batch_size": 128},
        max_epochs=1,
    )

    def epoch() -> Work:
        done = _harness.fit(settings, [0], place)
        return Work(done.cost, 1, 6_400)

    return epoch, None


EQUATION = f"LangevinSDE, {STEPS} Euler steps along {SAMPLES} series, a step of training"

PAIRS = (
    Pair("stochastic/loop", f"{EQUATION}, beside a loop written out", 1.1, partial(sides, written_out)),
    Pair("stochastic/torchsde", f"{EQUATION}, beside torchsde's defaults", 0.4, partial(sides, by_torchsde)),
    Pair(
        "stochastic/physionet2012",
        "LinearNoiseSDE, an epoch of 6,400 records of up to 202 times, batch 128",
        60.0,
        records,
        unit="s",
        per="epoch",
    ),
)
