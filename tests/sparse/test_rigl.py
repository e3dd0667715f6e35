"""RigL and SET: sparse networks whose connections move (Evci et al., 2020; Mocanu et al., 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import train
from tests.sparse.methods import config
from zoo.sparse import SET, FullyConnected, RigL
from zoo.sparse._densities import layer_densities
from zoo.sparse._masks import Masked

SHAPES = {"layers.0.weight": (16, 12), "layers.1.weight": (8, 16), "layers.2.weight": (3, 8)}


class Spy(RigL):
    """RigL that notes what it saw and did at each change, and what the step made of it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.batches: list[Any] = []
        self.changes: list[dict[str, Any]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.batches = []
        self.batches.append(batch)
        self.biases = [layer.bias.detach().clone() for layer in pl_module.layers]
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def update(self, masked: Masked, step: int) -> dict[str, Tensor]:
        new = super().update(masked, step)
        old = {name: own.clone() for name, own in masked.masks.items()}
        weights = {name: weight.detach().clone() for name, weight in masked.weights.items()}
        self.changes.append({"step": step, "old": old, "new": new, "gradient": self.plain(weights)})
        return new

    def plain(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The gradient of a network without masks, at the same weights, for the mean loss of the step's batches."""
        model = FullyConnected(12, 3, (16, 8))
        biases = {f"layers.{number}.bias": bias for number, bias in enumerate(self.biases)}
        model.load_state_dict(weights | biases)
        for batch in self.batches:
            (model.step(batch)["loss"] / len(self.batches)).backward()
        return {name: g for name in weights if (g := model.get_parameter(name).grad) is not None}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if self.changes and trainer.global_step == self.changes[-1]["step"] + 1:
            self.changes[-1].setdefault("after", {n: w.detach().clone() for n, w in Masked(pl_module).weights.items()})


@pytest.fixture(params=[1, 2], ids=["each batch a step", "two batches a step"])
def spied(request: pytest.FixtureRequest, tmp_path: Path) -> Spy:
    spy = Spy(density=0.3, every=3, alpha=0.8)
    trainer = {"max_epochs": 5, "log_every_n_steps": 1, "accumulate_grad_batches": request.param}
    train.run(config("RigL", callbacks=[], trainer=trainer), 0, tmp_path, callbacks=[spy])
    steps = 5 * 6 // request.param
    assert [change["step"] for change in spy.changes] == [t for t in range(3, steps, 3) if t < 0.75 * steps]
    return spy


def test_connections_grow_where_the_dense_gradient_is_largest(spied: Spy) -> None:
    """Beside the gradient of a plain network by autograd, up to the rounding of single precision."""
    moved = 0
    for change in spied.changes:
        for name, old in change["old"].items():
            new, gradient = change["new"][name], change["gradient"][name].abs()
            grown = new & ~old
            moved += int(grown.sum())
            if grown.any():
                assert gradient[grown].min() >= gradient[~new & ~old].max() - 1e-6 * gradient.max()
    assert moved > 10


def test_new_connections_start_from_zero_without_momentum(spied: Spy) -> None:
    """So their first step is that of plain gradient descent: w = 0 - lr dL/dw, lr = 0.1."""
    for change in spied.changes:
        for name, old in change["old"].items():
            grown = change["new"][name] & ~old
            first = -0.1 * change["gradient"][name][grown]
            # single precision, of gradients whose sums are taken in another order
            torch.testing.assert_close(change["after"][name][grown], first, rtol=1e-4, atol=1e-7)


def test_each_layer_has_as_many_connections_at_all_times(spied: Spy) -> None:
    densities = layer_densities(SHAPES, 0.3, "erk")
    for change in spied.changes:
        for name, shape in SHAPES.items():
            expected = round(densities[name] * shape[0] * shape[1])
            assert int(change["old"][name].sum()) == int(change["new"][name].sum()) == expected


def test_the_share_that_moves_follows_a_cosine() -> None:
    method = RigL(alpha=0.3, end=0.75)
    method.total = 1000
    shares = [method.share(step) for step in (0, 250, 375, 500, 750)]
    assert shares == pytest.approx([0.3, 0.225, 0.15, 0.075, 0.0], abs=1e-15)
    assert [step for step in range(1000) if method.due(step)] == list(range(100, 750, 100))


def evolving(**arguments: Any) -> tuple[SET, Masked]:
    torch.manual_seed(0)
    method = SET(**{"density": 0.2, "distribution": "uniform"} | arguments)
    method.total = 30
    masked = method.install(FullyConnected(50, 10, (40, 20)))
    with torch.no_grad():
        method.begin(masked)
    return method, masked


def test_set_drops_the_smallest_of_each_layer() -> None:
    method, masked = evolving()
    for name, new in method.update(masked, 10).items():
        old, size = masked.masks[name], masked.weights[name].detach().abs()
        threshold = size[old].sort().values[int(0.3 * int(old.sum()))]
        assert int(new.sum()) == int(old.sum()) == round(0.2 * old.numel())
        assert new[size >= threshold].all()
        assert (old & ~new).any()
        assert size[old & ~new].max() < threshold


def test_set_grows_uniformly_where_there_are_none() -> None:
    """Of 2,000 places 280 stay and 120 of the other 1,720 gain one: by halves a hypergeometric number."""
    method, masked = evolving()
    old, size = masked.masks["layers.0.weight"], masked.weights["layers.0.weight"].detach().abs()
    kept = size >= size[old].sort().values[120]
    half = (~kept).clone()
    half[20:] = False
    share = float(half.sum()) / 1720
    counts = torch.tensor(
        [int((method.update(masked, 10)["layers.0.weight"] & half).sum()) for _ in range(60)], dtype=torch.float64
    )
    deviation = (120 * share * (1 - share) * (1720 - 120) / (1720 - 1)) ** 0.5
    assert abs(float(counts.mean()) - 120 * share) < 5 * deviation / 60**0.5


def test_set_leaves_the_last_steps_to_what_it_has_left() -> None:
    """With the steps of an epoch, none move after the last one."""
    method, _ = evolving(every=10)
    assert [step for step in range(30) if method.due(step)] == [10, 20]


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (RigL, {"alpha": 1.5}, r"alpha must lie in \[0, 1\], a share of the connections, got 1.5"),
        (RigL, {"end": 0.0}, r"end must lie in \(0, 1\], got 0.0"),
        (RigL, {"every": 0}, "every must be at least 1, got 0"),
        (RigL, {"distribution": "erdos"}, "distribution must be one of 'uniform', 'er', .*, got 'erdos'"),
        (SET, {"zeta": 0.0}, r"zeta must lie in \(0, 1\], got 0.0"),
        (SET, {"density": -0.1}, r"density must lie in \(0, 1\], got -0.1"),
        (SET, {"every": 0}, "every must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(method: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(**arguments)
