"""The electrolysis study: simulating its training set, and an ensemble of its networks as one stacked model."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

SIMULATIONS, LENGTH = 40, 5000
SEEDS, BATCH = 24, 128
SKIPPED, STEPS = 20, 200  # steps before the clock starts, and steps that are timed


def settings() -> Any:
    """A short training of a sparse network, on trajectories that are short because only steps are timed."""
    from benchmarks.pairs._harness import config

    return config(
        "datamodules.Electrolysis",
        "zoo.sparse.DynamicsNetwork",
        arguments={"l1": 1e-4},
        data_arguments={"simulations": SIMULATIONS, "test_simulations": 1, "steps": 1000, "batch_size": BATCH},
        max_steps=SKIPPED + STEPS,
    )


def ensemble(place: Place) -> tuple[Side, Side]:
    """The networks stacked by the harness, and a plain loop on each of them in turn."""
    from torch.nn.functional import mse_loss

    from benchmarks.pairs import _harness, _plain

    made = settings()
    data = [_plain.assembled(made, seed, place.device)[2] for seed in range(SEEDS)]
    batches = [_plain.drawn(each, SKIPPED + STEPS, place.device) for each in data]

    def theirs() -> Work:
        seconds = loss = 0.0
        for seed in range(SEEDS):
            model, optimizer, _ = _plain.assembled(made, seed, place.device)

            def penalised(outputs: Any, targets: Any, model: Any = model) -> Any:
                return mse_loss(outputs, targets) + 1e-4 * sum(weight.abs().sum() for weight in model.weights)

            seconds += _plain.timed(model, optimizer, penalised, batches[seed], place.device, SKIPPED)
            loss += _plain.tested(model, penalised, data[seed], place.device) / SEEDS
        return Work(seconds, SEEDS * STEPS, SEEDS * STEPS * BATCH, loss=loss)

    return partial(_harness.fit, made, range(SEEDS), place, skip=SKIPPED, stacked=True), theirs


def simulation(_place: Place) -> tuple[Side, None]:
    """All trajectories of the training set at once, without the file that is kept of them."""
    from datamodules import _operation

    def ours() -> Work:
        start = time.perf_counter()
        _operation.trajectories([("train", number) for number in range(SIMULATIONS)], LENGTH, 0)
        return Work(time.perf_counter() - start, 1, SIMULATIONS * LENGTH)

    return ours, None


PAIRS = (
    Pair(
        "electrolysis/ensemble",
        f"{SEEDS} networks of 13-20-20-20-20-8 with a penalty, batch {BATCH}, beside a plain loop for each in turn",
        1 / 3,
        ensemble,
        per="network and step",
    ),
    Pair(
        "electrolysis/simulation",
        f"{SIMULATIONS} trajectories of the aluminium cell, {LENGTH} steps each",
        10.0,
        simulation,
        unit="s",
        per="training set",
    ),
)
