"""Bandlimited random features (Li, Sonoda, Cao, Wang and Liang, 2023): exact least squares in batches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.observables.mean_field.bandlimited import Approximation
from datamodules import InterpolationPoints, ThreeBumps
from zoo.mean_field import RandomFeatures

SPLITS = [[300], [1] * 300, [7] * 42 + [6], [299, 1]]


def made(seed: int = 0, **hyperparameters: Any) -> RandomFeatures:
    torch.manual_seed(seed)
    return RandomFeatures(**{"in_features": 1, "features": 12, "bound": 30.0} | hyperparameters)


def spread() -> RandomFeatures:
    """Steps at twelve places: features that are far from dependent."""
    model = made()
    model.weight.fill_(20.0)
    model.bias.copy_(-20 * torch.linspace(0, 1, 12))
    return model


def samples(size: int = 300) -> tuple[Tensor, Tensor]:
    x = torch.linspace(0, 1, size, dtype=torch.float64)
    return x[:, None], ThreeBumps.target(x)


def fit(model: RandomFeatures, x: Tensor, y: Tensor, split: list[int] | None = None) -> RandomFeatures:
    for batch in zip(x.split(split or [len(x)]), y.split(split or [len(x)]), strict=True):
        model.gather(*batch)
    model.solve()
    return model


def least_squares(model: RandomFeatures, x: Tensor, y: Tensor) -> np.ndarray:
    solution: np.ndarray = np.linalg.lstsq(model.hidden(x).numpy(), y.numpy(), rcond=model.rcond)[0]
    return solution


@pytest.mark.parametrize("split", SPLITS, ids=len)
def test_batches_in_any_split_gather_the_same(split: list[int]) -> None:
    x, y = samples()
    model = fit(made(), x, y, split)
    rows = torch.cat([model.hidden(x), y[:, None]], dim=1)
    gram = rows.T @ rows
    # a QR decomposition errs by some units in the last place of ||R||^2, each of at most 300 times
    torch.testing.assert_close(model.factor.T @ model.factor, gram, rtol=0, atol=300 * 2.2e-16 * float(gram.norm()))


@pytest.mark.parametrize("split", SPLITS, ids=len)
def test_the_fit_is_that_of_numpy(split: list[int]) -> None:
    x, y = samples()
    model = fit(spread(), x, y, split)
    condition = float(torch.linalg.cond(model.hidden(x)))
    assert condition < 1e6
    # fitted values err by eps times the condition number, and by the roundings of up to 300 factors
    expected = model.hidden(x).numpy() @ least_squares(model, x, y)
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=0, atol=300 * 2.2e-16 * condition)


def test_nearly_dependent_features_are_fitted_as_well_as_by_numpy() -> None:
    """With singular values down to rounding, the residual is the one beyond the cut-off at 1e-12."""
    x, y = samples()
    model = fit(made(features=100, bound=5.0), x, y, [50] * 6)
    hidden = model.hidden(x)
    assert float(torch.linalg.cond(hidden)) > 1e15  # normal equations would see no singular value below 1e-8
    ours = float((model(x) - y).norm())
    numpys = float(np.linalg.norm(hidden.numpy() @ least_squares(model, x, y) - y.numpy()))
    # singular values near the cut-off are known to 2e-16 / 1e-12 of themselves: which of them count may differ
    singular = torch.linalg.svdvals(hidden)
    kept = int((singular > 1e-12 * singular[0]).sum())
    left = torch.linalg.svd(hidden, full_matrices=False).U
    best = [float((y - left[:, :k] @ (left[:, :k].T @ y)).norm()) for k in (kept - 1, kept + 1)]
    assert best[1] - 1e-6 <= min(ours, numpys) <= max(ours, numpys) <= best[0] + 1e-6


def test_equal_features_share_their_weight() -> None:
    """The solution of least norm: of two equal columns, each takes half."""
    x, y = samples()
    model = spread()
    model.bias[1] = model.bias[0]
    fit(model, x, y)
    # exact but for a rounding times the condition number of the eleven others, 3e2
    assert float(model.output[0]) == pytest.approx(float(model.output[1]), rel=1e-9)
    assert abs(float(model.output[0])) > 1e-3


def test_the_features_lie_in_the_band_and_fill_it() -> None:
    model = made(features=2000, bound=50.0)
    for drawn in (model.weight, model.bias):
        # the largest of 2000 uniform numbers falls short of the bound by 1 / 2000 of the width, 0.05; ten times that
        assert 49.5 < float(drawn.max()) <= 50
        assert -50 <= float(drawn.min()) < -49.5


def test_the_target_has_three_bumps() -> None:
    y = ThreeBumps.target(torch.tensor([0.25, 0.4, 0.5], dtype=torch.float64))
    expected = [0.3 + 0.2 * math.exp(-2.25), 0.2 + 0.5 * math.exp(-64), 0.5 + 0.2 * math.exp(-1)]
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)


def test_a_training_keeps_float64_and_ends_after_an_epoch(tmp_path: Path) -> None:
    model, data = made(), ThreeBumps(size=300, batch_size=70)
    trainer = pl.Trainer(
        max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, limit_val_batches=0, callbacks=[Approximation()],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert trainer.current_epoch == 1
    assert all(tensor.dtype == torch.float64 for tensor in model.state_dict().values())
    x, y = samples()
    # the epoch's batches are shuffled: rounding, as above
    torch.testing.assert_close(model(x), fit(made(), x, y)(x), rtol=0, atol=1e-9)
    trainer.test(model, datamodule=data, verbose=False)
    x, y = data.load("test")
    assert float(trainer.callback_metrics["test/rmse"]) == pytest.approx(float((model(x) - y).square().mean().sqrt()))
    trainer.save_checkpoint(tmp_path / "fitted.ckpt")
    loaded = RandomFeatures.load_from_checkpoint(tmp_path / "fitted.ckpt", weights_only=True)
    assert torch.equal(loaded(x), model(x))
    assert loaded(x.float()).dtype == torch.float32


def test_an_interrupted_epoch_goes_on_from_its_state() -> None:
    x, y = samples()
    whole = fit(made(), x, y, [100] * 3)
    half, other = made(), made(seed=1)
    half.gather(x[:100], y[:100])
    other.load_state_dict(half.state_dict())
    fit(other, x[100:], y[100:], [100] * 2)
    assert torch.equal(other.output, whole.output)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(features=0), "features must be at least 1, got 0"),
        (lambda: made(in_features=0), "in_features must be at least 1, got 0"),
        (lambda: made(bound=0.0), "bound must be positive, got 0.0"),
        (lambda: made(bound=float("nan")), "bound must be positive, got nan"),
        (lambda: made(rcond=1.0), r"rcond must be in \[0, 1\), got 1.0"),
        (lambda: ThreeBumps(size=1), "size must be at least 2, got 1"),
        (lambda: Approximation(every=0), "every must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_other_data_have_no_grid_to_measure_on() -> None:
    assert "InterpolationPoints has none" in Approximation().refusal(made(), InterpolationPoints())
