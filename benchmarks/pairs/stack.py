"""Small models of many seeds: through the harness, which trains them stacked, and one after the other in a loop.

The loop's batches are drawn beforehand and cost it nothing; the harness draws its own within the time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

SKIPPED = 20  # steps before the clock starts
STEPS = 200  # steps that are timed, of each seed


@dataclass(frozen=True)
class Sizes:
    """Of a two-layer network and its batches."""

    width: int
    dim: int
    batch: int

    def settings(self, steps: int) -> Any:
        """The configuration of a training of so many steps on a stream of fresh points."""
        from benchmarks.pairs._harness import config

        return config(
            "datamodules.OddTarget",
            "zoo.mean_field.TwoLayerReLU",
            arguments={"in_features": self.dim, "width": self.width},
            data_arguments={"dim": self.dim, "batch_size": self.batch, "val_size": 0, "test_size": 512},
            max_steps=steps,
        )


def half_square(outputs: Any, targets: Any) -> Any:
    """The network's loss, mean((f(x) - y)^2) / 2."""
    return (outputs - targets).square().mean() / 2


def sides(place: Place, sizes: Sizes, seeds: int, steps: int = STEPS, stacked: bool = True) -> tuple[Side, Side]:
    """The harness on all seeds, and a plain loop on each of them in turn."""
    from benchmarks.pairs import _harness, _plain
    from benchmarks.pairs._networks import MatrixVector

    made = sizes.settings(SKIPPED + steps)
    data = [_plain.assembled(made, seed, place.device)[2] for seed in range(seeds)]
    batches = [_plain.drawn(each, SKIPPED + steps, place.device) for each in data]

    def theirs() -> Work:
        seconds = loss = 0.0
        for seed in range(seeds):
            network, optimizer, _ = _plain.assembled(made, seed, place.device)
            model = MatrixVector(network)
            seconds += _plain.timed(model, optimizer, half_square, batches[seed], place.device, SKIPPED)
            loss += _plain.tested(model, half_square, data[seed], place.device) / seeds
        return Work(seconds, seeds * steps, seeds * steps * sizes.batch, loss=loss)

    return partial(_harness.fit, made, range(seeds), place, skip=SKIPPED, stacked=stacked), theirs


def pair(name: str, at_most: float, sizes: Sizes, seeds: int, device: str = "cpu") -> Pair:
    """A pair of these sizes."""
    network = f"TwoLayerReLU({sizes.width}), d = {sizes.dim}, batch {sizes.batch}"
    what = f"{seeds} seeds of {network}, beside a plain loop for each without data cost"
    make = partial(sides, sizes=sizes, seeds=seeds)
    return Pair(name, what, at_most, make, per="seed and step", devices=(device,))


def memory(place: Place, seeds: int = 64) -> tuple[Side, Side]:
    """Peaks of the device's allocator above what was there before: of all seeds stacked, and of one times as many.

    The sizes make every tensor large beside the allocator's blocks of 512 bytes, whose rounding would help us.
    """
    import torch

    from benchmarks.pairs import _harness, _plain

    steps, made = 20, Sizes(1024, 20, 512).settings(20)
    samples = seeds * steps * 512

    def peak(run: Any) -> float:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()  # holds the libraries' workspaces, which the warm-up has made
        run()
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - before)

    def plain() -> None:
        model, optimizer, data = _plain.assembled(made, 0, place.device)
        drawn = (tuple(t.to(place.device) for t in batch) for batch in data.train_dataloader())
        _plain.loop(model, optimizer, half_square, itertools.islice(drawn, steps), place.device)

    def ours() -> Work:
        return Work(peak(lambda: _harness.fit(made, range(seeds), place, stacked=True)), seeds, samples)

    return ours, lambda: Work(seeds * peak(plain), seeds, samples)


PAIRS = (
    pair("stack/two_layer_32", 0.2, Sizes(32, 2, 32), 32),
    pair("stack/two_layer_64", 0.35, Sizes(64, 10, 64), 32),
    pair("stack/two_layer_256", 0.7, Sizes(256, 10, 64), 32),
    pair("stack/two_layer_64_gpu", 0.05, Sizes(64, 10, 64), 64, "cuda"),
    Pair(
        "stack/memory_gpu",
        "peak memory of 64 stacked seeds of TwoLayerReLU(1024), beside 64 times that of a plain loop's one",
        1.1,
        memory,
        per="seed",
        quantity="bytes",
        devices=("cuda",),
    ),
)
