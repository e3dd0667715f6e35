"""How a Hall-Héroult cell is run: feeds that follow its state, excitation on top of them, and the trajectories."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules._arrays import generator
from datamodules._hall_heroult import DT, NOMINAL, rk4

VERSION = "1"  # changes whenever the same settings yield other trajectories
ATTEMPTS = 10
#: Alumina feed, aluminium fluoride feed, metal tapped: least and most of them (kg/s).
LEAST, MOST = (140 / DT, 20 / DT, 20 / DT), (220 / DT, 80 / DT, 90 / DT)
HOLD = (100, 1100)  # steps between two switches of an input
#: Whole numbers from which the parts of an initial state are drawn; the shares of the bath are in per cent.
STARTS = {
    "ledge": (2060, 4460),
    "alumina share": (2, 5),
    "fluoride share": (9, 13),
    "cryolite": (11_500, 16_000),
    "metal": (9750, 10_000),
    "bath": (960, 990),
    "inner": (790, 850),
    "wall": (555, 610),
}


def feeds(x: Tensor) -> Tensor:
    """What is fed and tapped in proportion to a state's deviations, as inputs of shape (…, 5) with zeros elsewhere.

        u1 = 3e4 (0.023 - c2),   u3 = 1.3e4 (0.105 - c3),   u4 = 300 (x5 - 1e4)

    c2 and c3 are the bath's shares of alumina and aluminium fluoride. Less than the least feed is none.
    """
    alumina, fluoride, cryolite, metal = x[..., 1], x[..., 2], x[..., 3], x[..., 4]
    mass = alumina + fluoride + cryolite
    wanted = [3e4 * (0.023 - alumina / mass), 1.3e4 * (0.105 - fluoride / mass), 300 * (metal - 1e4)]
    first, third, fourth = (
        torch.where(some < least, 0.0, some.clamp(max=most))
        for some, least, most in zip(wanted, LEAST, MOST, strict=True)
    )
    return torch.stack([first, torch.zeros_like(first), third, fourth, torch.zeros_like(first)], dim=-1)


def simulated(start: Tensor, excitation: Tensor) -> tuple[Tensor, Tensor]:
    """States and inputs of N cells at once.

    Takes states (N, 8) and what is added to the nominal inputs and the feeds, (N, T, 5); gives states (N, T + 1, 8)
    and inputs (N, T, 5). The first step has no feeds.
    """
    inputs = (excitation + excitation.new_tensor(NOMINAL)).transpose(0, 1).contiguous()
    states = start.new_empty(len(inputs) + 1, *start.shape)
    with torch.inference_mode():
        x = states[0] = start
        for step, u in enumerate(inputs.unbind()):
            u.add_(feeds(x) if step else 0.0)
            x = states[step + 1] = rk4(x, u)
    return states.transpose(0, 1).contiguous(), inputs.transpose(0, 1).contiguous()


def drawn_start(rng: torch.Generator) -> Tensor:
    """An initial state, (8,), of uniform whole numbers."""
    part = {name: float(_whole(rng, low, high)) for name, (low, high) in STARTS.items()}
    c2, c3 = part["alumina share"] / 100, part["fluoride share"] / 100
    mass = part["cryolite"] / (1 - c2 - c3)
    masses = [part["ledge"], c2 * mass, c3 * mass, part["cryolite"], part["metal"]]
    return torch.tensor([*masses, part["bath"], part["inner"], part["wall"]], dtype=torch.float64)


def drawn_excitation(rng: torch.Generator, steps: int) -> Tensor:
    """What is added to a cell's inputs, (T, 5): switched levels of current and distance, and single pulses of feed."""
    added = torch.zeros(steps, 5, dtype=torch.float64)
    added[:, 0] = _pulses(rng, steps, (500, 2000), 20)
    added[:, 1] = _levels(rng, steps, -22_000, 15_000)
    added[:, 2] = _pulses(rng, steps, (1000, 3000), 10)
    added[:, 4] = _levels(rng, steps, -70, 70) / 1e4
    return added


def _levels(rng: torch.Generator, steps: int, low: int, high: int) -> Tensor:
    """An amplitude-modulated pseudo-random signal: zero up to the first switch, then a new whole number at each."""
    switches = _whole(rng, *HOLD, steps // HOLD[0] + 1).cumsum(0)
    levels = torch.cat([torch.zeros(1, dtype=torch.int64), _whole(rng, low, high, len(switches))])
    return levels[torch.searchsorted(switches, torch.arange(steps), right=True)].double()


def _pulses(rng: torch.Generator, steps: int, gaps: tuple[int, int], most: int) -> Tensor:
    """Pulses of one step between 1 and `most` kg/s; the first comes as early as a switch may."""
    times = torch.cat([_whole(rng, *HOLD, 1), _whole(rng, *gaps, steps // gaps[0] + 1)]).cumsum(0)
    heights = _whole(rng, 100, 100 * most, len(times)) / 100.0
    pulses = torch.zeros(steps, dtype=torch.float64)
    pulses[times[times < steps]] = heights[times < steps].double()
    return pulses


def _whole(rng: torch.Generator, low: int, high: int, size: int = 1) -> Tensor:
    return torch.randint(low, high + 1, (size,), generator=rng)


def trajectories(keys: list[tuple[str, int]], steps: int, seed: int) -> tuple[Tensor, Tensor, int]:
    """States, inputs and how many were drawn again, of the cells with these keys of split and number.

    A cell's random numbers depend on the seed and its key alone, so that few are the first ones of many. Those that
    do not stay finite are drawn again. Raises RuntimeError where some never do.
    """
    waiting, redrawn = list(range(len(keys))), 0
    states = torch.empty(len(keys), steps + 1, 8, dtype=torch.float64)
    inputs = torch.empty(len(keys), steps, 5, dtype=torch.float64)
    for attempt in range(ATTEMPTS):
        rngs = [generator(seed, *keys[place], attempt) for place in waiting]
        start = torch.stack([drawn_start(rng) for rng in rngs])
        excitation = torch.stack([drawn_excitation(rng, steps) for rng in rngs])
        states[waiting], inputs[waiting] = simulated(start, excitation)
        waiting = [place for place in waiting if not states[place].isfinite().all()]
        redrawn += len(waiting)
        if not waiting:
            return states, inputs, redrawn
    raise RuntimeError(f"{len(waiting)} of {len(keys)} cells became infinite in each of {ATTEMPTS} attempts")
