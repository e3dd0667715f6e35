"""The residual network that becomes a neural ODE: closed forms at the start, order in 1/L, observables."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from benchmarks.observables.residual.deep_limit import (
    Descent,
    LayerIncrements,
    convergence,
    distance,
    errors,
    exponent,
)
from benchmarks.observables.residual.layers import increments
from datamodules import GaussianPairs, OddTarget
from zoo._replicas import Replicas
from zoo.residual import DeepLimitResNet


def made(seed: int = 0, **options: Any) -> DeepLimitResNet:
    torch.manual_seed(seed)
    return DeepLimitResNet(**{"in_features": 3, "depth": 4, "width": 5} | options).double()


def pairs(n: int = 7, d: int = 3) -> tuple[Tensor, Tensor]:
    drawn = torch.randn(2, n, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return drawn[0], drawn[1]


def descend(model: DeepLimitResNet, steps: int) -> None:
    optimizer = model.configure_optimizers()
    for _ in range(steps):
        optimizer.zero_grad()
        model.step(pairs())["loss"].backward()
        optimizer.step()


def steps(model: Any) -> dict[str, Tensor]:
    return {name: increments(weights) for name, weights in model.along_depth().items()}


def test_it_starts_as_the_identity() -> None:
    x, y = pairs()
    model = made()
    assert torch.equal(model(x), x)
    torch.testing.assert_close(model.step((x, y))["loss"], (x - y).square().mean())


def test_it_is_the_euler_scheme_of_its_layers() -> None:
    """Written out with column vectors, sample by sample."""
    model, (x, _) = made(init="iid"), pairs()
    with torch.no_grad():
        model.outer.normal_()
    for row, found in zip(x, model(x), strict=True):
        h = row
        for k in range(4):
            a = model.inner[k] @ h
            h = h + model.outer[k] @ (a * (1 + torch.erf(a / math.sqrt(2))) / 2) / 4
        torch.testing.assert_close(found, h)


def test_the_draw_of_tied_layers_is_one_matrix_for_every_depth() -> None:
    torch.manual_seed(3)
    drawn = torch.randn(3, 5).T.double()
    for depth in (1, 6):
        model = made(seed=3, depth=depth)
        assert model.inner.shape == (depth, 5, 3)
        assert all(torch.equal(layer, drawn) for layer in model.inner)
        assert torch.count_nonzero(model.outer) == 0
    free = made(init="iid", depth=2000).inner
    assert float(free.detach().var()) == pytest.approx(1, abs=0.04)  # of 30,000 numbers: 0.008; five times that
    assert float((free[0] - free[1]).detach().norm()) > 1


def test_the_first_gradient_is_the_closed_form() -> None:
    """dloss / dV_k = (2 / (n d L)) (x - y)^T sigma(x W^T), dloss / dW_k = 0: the same for all layers."""
    model, (x, y) = made(), pairs()
    model.step((x, y))["loss"].backward()
    expected = 2 / (7 * 3 * 4) * (x - y).T @ torch.nn.functional.gelu(x @ model.inner[0].T)
    assert model.outer.grad is not None
    torch.testing.assert_close(model.outer.grad, expected.detach().expand(4, -1, -1))
    assert model.inner.grad is not None
    assert torch.count_nonzero(model.inner.grad) == 0


def test_one_step_leaves_tied_layers_alike_and_does_not_depend_on_the_depth() -> None:
    shallow, deep = made(), made(depth=9)
    for model in (shallow, deep):
        descend(model, 1)
        # the layers see the same numbers, in products that may be rounded differently
        assert all(float(found.max()) < 1e-15 for found in steps(model).values())
    torch.testing.assert_close(shallow.outer[0], deep.outer[0], rtol=1e-12, atol=1e-15)


def test_trained_networks_of_twice_the_depth_differ_by_one_over_the_depth() -> None:
    """f_L - f_2L and the increments are of order 1/L, fitted over depths from 8 to 64."""
    x, gaps, largest = pairs()[0], {}, {}
    models = {depth: made(depth=depth, lr=0.3) for depth in (8, 16, 32, 64, 128)}
    for depth, model in models.items():
        descend(model, 5)
        largest[depth] = float(steps(model)["outer"].max())
    for depth in (8, 16, 32, 64):
        gaps[depth] = float((models[depth](x) - models[2 * depth](x)).detach().norm())
    # what follows the leading order is 1/L of it, an eighth at the smallest depth: a slope of 0.05 over three octaves
    assert exponent(gaps) == pytest.approx(-1, abs=0.06)
    assert exponent(largest) == pytest.approx(-1, abs=0.06)


def test_increments_are_norms_of_differences() -> None:
    model = made(init="iid")
    for name, weight in (("outer", model.outer), ("inner", model.inner)):
        expected = [float((weight[k + 1] - weight[k]).detach().norm()) for k in range(3)]
        assert steps(model)[name].tolist() == pytest.approx(expected, rel=1e-12)


def test_stacked_seeds_follow_their_own_paths() -> None:
    batches = [pairs(), tuple(t.flip(0) * 1.5 for t in pairs())]
    alone = [made(seed) for seed in (0, 1)]
    stack = Replicas([made(seed) for seed in (0, 1)])
    together = torch.optim.SGD(stack.parameters(), lr=4 * 0.01)
    for _ in range(4):
        together.zero_grad()
        stack.scalars(tuple(map(torch.stack, zip(*batches, strict=True))))["loss"].sum().backward()
        together.step()
    for model, batch, replica in zip(alone, batches, stack.models, strict=True):
        optimizer = model.configure_optimizers()
        for _ in range(4):
            optimizer.zero_grad()
            model.step(batch)["loss"].backward()
            optimizer.step()
        for name, parameter in model.named_parameters():  # sums in another order
            torch.testing.assert_close(replica.get_parameter(name), parameter, rtol=1e-12, atol=1e-14)


def test_distances_compare_layers_at_the_same_place() -> None:
    """A line through depth, sampled at 2 and 6 places: floor(i D / L) is exact here."""
    reference = np.arange(6.0)[:, None] * np.ones(4)
    assert distance(reference[[0, 3]], reference) == 0
    assert distance(reference[[1, 5]], reference) == pytest.approx(math.sqrt((4 * 1 + 4 * 4) / 2))
    assert distance(reference[[0, 1, 2, 4]], reference) == pytest.approx(math.sqrt(4 * (0 + 0 + 1 + 0) / 4))


def result(model: str, depth: int, seed: int, error: float) -> Any:
    weight = np.ones((1, depth, 2, 2)) * (1 + error / 2)  # of four entries: the distance is the error
    arrays = {"outer": weight, "inner": weight * 2}
    return SimpleNamespace(model=model, seed=seed, arrays=lambda: arrays)


def test_the_rate_is_the_exponent_of_the_errors() -> None:
    results = [result("tied", depth, seed, (1 + seed) / depth) for depth in (2, 4, 8) for seed in (0, 1, 2)]
    results += [result("deep", 16, seed, 0.0) for seed in (0, 1, 2)] + [result("iid", 4, 0, 1.0)]
    assert errors(results)["outer"][4] == pytest.approx({0: 0.25, 1: 0.5, 2: 0.75})
    *rows, deep = convergence(results)
    assert [row["point"] for row in rows] == [{"model.init_args.depth": depth} for depth in (2, 4, 8)]
    assert rows[1]["metrics"] == pytest.approx({"error_outer": 0.5, "error_inner": 1.0})
    assert deep["metrics"] == pytest.approx({"rate_outer": -1.0, "rate_inner": -1.0})
    assert (deep["model"], deep["n"]) == ("deep", 3)
    assert convergence([result("iid", 4, 0, 1.0)]) == [{"model": "deep", "point": {}, "metrics": {}, "n": 0}]


class Noted(DeepLimitResNet):
    """A network that keeps what is logged."""

    def log(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        self.__dict__.setdefault("logged", {})[name] = float(value)


def test_the_largest_increment_is_scaled_by_the_depth() -> None:
    model = Noted(in_features=2, depth=3, width=1)
    with torch.no_grad():
        model.outer[1] = torch.tensor([[3.0], [4.0]])
        model.outer[2] = torch.tensor([[3.0], [3.0]])
    LayerIncrements(weights=True).on_test_epoch_end(SimpleNamespace(datamodule=None), model)  # type: ignore[arg-type]
    assert model.__dict__["logged"]["test/increment_outer"] == 5
    assert model.__dict__["logged"]["test/scaled_outer"] == 15
    assert model.__dict__["logged"]["test/increment_inner"] == 0
    assert model.recorded["increments_outer"].tolist() == [[5, 1]]
    assert torch.equal(model.recorded["inner"][0], model.inner.detach())


def test_the_largest_rise_is_relative_and_survives_an_interruption() -> None:
    model, losses = Noted(in_features=2, depth=3, width=1), (4.0, 2.0, 3.0, 1.0)
    first, again = Descent(every=2), Descent(every=2)
    for step, loss in enumerate(losses):
        if step == 2:
            again.load_state_dict(first.state_dict())
        trainer: Any = SimpleNamespace(global_step=step + 1, accumulate_grad_batches=1, is_last_batch=False)
        (first if step < 2 else again).on_train_batch_end(trainer, model, {"loss": torch.tensor(loss)}, None, step)
    assert float(first.rise) == -0.5
    again.on_test_epoch_end(SimpleNamespace(), model)  # type: ignore[arg-type]
    assert model.__dict__["logged"]["test/largest_rise"] == 0.5
    assert model.recorded["loss"].tolist() == [4, 3]


def test_pairs_are_independent_and_always_the_same() -> None:
    data = GaussianPairs(dim=50, size=400, steps_per_epoch=3, seed=1)
    x, y = data.load("train")
    assert abs(float((x * y).mean())) < 5 / math.sqrt(20_000)  # the mean of 20,000 products of unit variance
    assert float(x.var()) == pytest.approx(1, abs=0.05)
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    assert all(torch.equal(batch[0], x) and torch.equal(batch[1], y) for batch in batches)
    assert torch.equal(data.load("test")[0], x)
    assert not torch.equal(GaussianPairs(dim=50, size=400, seed=2).load("train")[0], x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(depth=0), "depth must be at least 1, got 0"),
        (lambda: made(width=0), "width must be at least 1, got 0"),
        (lambda: made(lr=0.0), "lr must be positive, got 0.0"),
        (lambda: made(activation="tanh"), "activation must be one of 'gelu', 'relu', got 'tanh'"),
        (lambda: made(init="shared"), "init must be one of 'tied', 'iid', got 'shared'"),
        (lambda: GaussianPairs(size=0), "size must be at least 1, got 0"),
        (lambda: GaussianPairs(dim=0), "dim must be at least 1, got 0"),
        (lambda: GaussianPairs(steps_per_epoch=0), "steps_per_epoch must be at least 1, got 0"),
        (lambda: Descent(every=0), "every must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_increments_need_layers() -> None:
    other = zoo.create("TwoLayerReLU", in_features=3, width=4)
    assert "TwoLayerReLU has no sequences" in LayerIncrements().refusal(other, OddTarget())
    assert "depth is 1" in LayerIncrements().refusal(made(depth=1), OddTarget())
    with pytest.raises(ValueError, match="at least two layers"):
        LayerIncrements().on_test_epoch_end(SimpleNamespace(datamodule=None), made(depth=1))  # type: ignore[arg-type]
