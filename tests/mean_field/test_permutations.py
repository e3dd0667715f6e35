"""Permutations learnt by infinite and finite ensembles (Giapitzakis, Back de Luca and Fountoulakis, 2025)."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from benchmarks.observables.mean_field.ensemble_size import EnsembleSize
from datamodules import OddTarget, Permutation
from zoo.mean_field import InfiniteReLUEnsemble, ReLUEnsemble, TwoLayerReLU
from zoo.mean_field.permutation_kernel import (
    KERNELS,
    covariance,
    exact_probability,
    gram,
    interpolation,
    permutation_deviation,
    permutation_mean,
)


def inputs(size: int, ones: int) -> tuple[Tensor, Tensor]:
    """The basis, and an input of norm 1 with the first bits set; float64."""
    basis = torch.eye(size, dtype=torch.float64)
    return basis, basis[:ones].sum(0, keepdim=True) / math.sqrt(ones)


def solved(kernel: str, **sizes: int) -> tuple[InfiniteReLUEnsemble, Permutation]:
    """An ensemble that was given the basis vectors."""
    data = Permutation(**sizes)
    model: InfiniteReLUEnsemble = InfiniteReLUEnsemble(**data.spec.arguments, kernel=kernel)
    model._trainer = SimpleNamespace(should_stop=False)
    model.training_step(next(iter(data.train_dataloader())), 0)
    model.on_train_epoch_end()
    return model, data


def test_all_inputs_are_tested_where_they_are_few() -> None:
    data = Permutation(size=6, ones=3)
    x, y = data.load("test")
    assert len(x) == math.comb(6, 3)
    assert {tuple(row.nonzero()[:, 0].tolist()) for row in x} == set(itertools.combinations(range(6), 3))
    torch.testing.assert_close(x.norm(dim=1), torch.ones(20))
    assert torch.equal(y, (x > 0).float()[:, data.order_of_bits])


def test_many_inputs_are_drawn_with_the_right_number_of_ones() -> None:
    data = Permutation(size=30, ones=5)
    x, y = data.load("test")
    assert len(x) == 1000
    assert torch.equal(y.sum(1), torch.full((1000,), 5.0))
    # a bit is one in 5 of 30 inputs: 1000 of them scatter by sqrt(1000 / 6 * 5 / 6) = 12; five times that
    assert ((x > 0).sum(0) - 1000 / 6).abs().max() < 60
    assert torch.equal(x, Permutation(size=30, ones=5).load("test")[0])
    assert not torch.equal(x, Permutation(size=30, ones=5, seed=1).load("test")[0])


def test_training_maps_basis_vectors_by_a_permutation_of_the_seed() -> None:
    one, other = (Permutation(size=12, seed=seed).load("train")[1] for seed in (0, 1))
    assert torch.equal(one.sum(0), torch.ones(12))
    assert torch.equal(one.sum(1), torch.ones(12))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("kernel", "size", "ones", "on", "off"),
    [
        ("ntk", 5, 2, 0.560632, -0.014640),
        ("random_features", 5, 2, 0.601657, -0.039543),
        ("ntk", 10, 2, 0.565422, -0.009850),
        ("random_features", 10, 2, 0.617941, -0.023259),
        ("ntk", 10, 3, 0.421555, -0.021547),
        ("random_features", 10, 3, 0.461613, -0.042098),
        ("ntk", 10, 10, 0.140392, -0.076454),
        ("random_features", 10, 10, 0.127426, -0.128065),
    ],
)
def test_means_are_those_of_an_independent_implementation(
    kernel: str, size: int, ones: int, on: float, off: float
) -> None:
    assert permutation_mean(kernel, size, ones) == pytest.approx((on, off), abs=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_signs_are_right_for_every_number_of_ones(kernel: str) -> None:
    for size in range(1, 31):
        # n = 1 is the training set: exact but for rounding
        assert permutation_mean(kernel, size, 1) == pytest.approx((1.0, 0.0), abs=1e-13)
        for ones in range(2, size + 1):
            on, off = permutation_mean(kernel, size, ones)
            assert on > 0 > off


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("size", "ones"), [(5, 2), (10, 3), (30, 7), (4, 4)])
def test_the_closed_form_is_the_kernel_regression(kernel: str, size: int, ones: int) -> None:
    basis, x = inputs(size, ones)
    on, off = permutation_mean(kernel, size, ones)
    expected = torch.tensor([[on] * ones + [off] * (size - ones)], dtype=torch.float64)
    # condition numbers below 30: rounding stays far below
    torch.testing.assert_close(interpolation(kernel, x, basis), expected, rtol=0, atol=1e-10)


def test_gram_matrices_are_expectations_over_random_weights() -> None:
    """K = E[relu(w . x) relu(w . z)], and the first layer's share E[relu'(w . x) relu'(w . z)] x . z / d."""
    torch.manual_seed(0)
    x, w = torch.randn(4, 3).double(), torch.randn(400_000, 3).double() / math.sqrt(3)
    hidden = torch.relu(w @ x.T)
    features = hidden.T @ hidden / len(w)
    active = (hidden > 0).double()
    # 400,000 samples: standard errors of about 3 / sqrt(400,000) = 0.005, five of them
    torch.testing.assert_close(gram("random_features", x, x), features, rtol=0, atol=0.025)
    slopes = active.T @ active / len(w) * (x @ x.T) / 3
    torch.testing.assert_close(gram("ntk", x, x) - gram("random_features", x, x), slopes, rtol=0, atol=0.025)


@pytest.mark.parametrize("kernel", KERNELS)
def test_trained_networks_agree_on_the_training_set_and_are_a_posterior_with_random_features(kernel: str) -> None:
    basis, x = inputs(8, 3)
    torch.testing.assert_close(covariance(kernel, basis, basis), torch.zeros(8, 8).double(), rtol=0, atol=1e-13)
    points = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).double()
    assert torch.linalg.eigvalsh(covariance(kernel, points, basis)).min() > -1e-12
    crossed = gram("random_features", x, basis)
    posterior = gram("random_features", x, x) - crossed @ torch.linalg.solve(
        gram("random_features", basis, basis), crossed.T
    )
    # Gaussian conditioning is the least variance that any linear interpolation leaves
    difference = float(covariance(kernel, x, basis) - posterior)
    assert difference == pytest.approx(0, abs=1e-14) if kernel == "random_features" else difference > 1e-4


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_model_predicts_the_closed_form_for_every_input(kernel: str) -> None:
    model, data = solved(kernel, size=7, ones=3)
    x, y = data.load("test")
    on, off = permutation_mean(kernel, 7, 3)
    # inputs in single precision: 1e-7 of 1
    torch.testing.assert_close(model(x), torch.where(y > 0.5, on, off).float(), rtol=0, atol=1e-6)
    basis, targets = data.load("train")
    torch.testing.assert_close(model(basis), targets, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_drawn_networks_have_the_process_s_mean_and_covariance(kernel: str) -> None:
    model, data = solved(kernel, size=4, ones=2)
    x = data.load("test")[0]
    blocks = list(model.predictors(x, 40_000, torch.Generator().manual_seed(0)))
    drawn = torch.cat(blocks)
    assert len(drawn) == 40_000
    expected = covariance(kernel, x.double(), torch.eye(4).double())
    deviation = math.sqrt(float(expected[0, 0]))
    # five standard errors of a mean and of a covariance of 40,000 numbers
    torch.testing.assert_close(drawn.mean(0), model(x), rtol=0, atol=5 * deviation / 200)
    residual = (drawn - model(x)).double()
    found = torch.einsum("mno,mpo->np", residual, residual) / (40_000 * 4)
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * deviation**2 * math.sqrt(2) / 400)
    outputs = torch.einsum("mno,mnq->oq", residual, residual) / (40_000 * len(x))
    assert (outputs - outputs.diag().diag()).abs().max() < 5 * deviation**2 / 200, "outputs are independent"


def test_sampled_exactness_is_the_probability_in_closed_form() -> None:
    """200 seeds of the curve, whose mean at M networks is Phi(…)^n Phi(…)^(k - n)."""
    model, data = solved("random_features", size=5, ones=2)
    callback, curves = EnsembleSize(models=60), []
    for seed in range(200):
        data.seed = seed
        curves.append(callback._curve(model, data))
    curve = torch.stack(curves)
    chance = exact_probability("random_features", 5, 2, torch.arange(1, 61))
    # shares of 10 inputs scatter by at most 0.5 between seeds: a standard error of 0.035, three of them
    assert (curve.mean(0) - chance).abs().max() < 0.11
    assert torch.equal(callback._curve(model, data), curves[-1]), "equal seeds, equal curves"


def test_networks_needed_grow_by_a_factor_between_two_and_four_from_10_to_30_bits() -> None:
    models = torch.arange(1, 2001)
    for kernel in KERNELS:
        few, many = (int((exact_probability(kernel, k, 2, models) < 0.9).sum()) for k in (10, 30))
        assert 2 < many / few < 4


def test_one_network_s_deviation_falls_with_the_number_of_bits() -> None:
    """The variance falls as 1 / k: its kernel has a factor 1 / k, and what is left converges."""
    few, many = (permutation_deviation("random_features", k, 2) ** 2 * k for k in (200, 400))
    assert many / few == pytest.approx(1, abs=0.01)


def test_members_are_trained_as_if_alone() -> None:
    """A step of the ensemble is, for each network, SGD with lr on its own mean squared error."""
    torch.manual_seed(0)
    ensemble: ReLUEnsemble = ReLUEnsemble(4, 3, width=16, members=5, lr=0.05).double()
    x, y = torch.randn(6, 4).double(), torch.randn(6, 3).double()
    own = [p[2].detach().clone().requires_grad_() for p in ensemble.parameters()]
    w, b, v, c = own
    loss = (torch.relu(x @ w.T + b) @ v.T + c - y).square().mean()
    gradients = torch.autograd.grad(loss, own)
    optimizer = ensemble.configure_optimizers()
    ensemble.step((x, y))["loss"].backward()
    optimizer.step()
    for parameter, before, gradient in zip(ensemble.parameters(), own, gradients, strict=True):
        torch.testing.assert_close(parameter[2].detach(), before.detach() - 0.05 * gradient, rtol=1e-12, atol=1e-14)


def test_finite_networks_start_as_the_process_of_random_features() -> None:
    """Outputs at the start have covariance K over networks: 4000 networks, five standard errors of sqrt(2 / 4000)."""
    torch.manual_seed(0)
    ensemble: ReLUEnsemble = ReLUEnsemble(3, 2, width=200, members=4000)
    x = torch.nn.functional.normalize(torch.randn(2, 3), dim=1)
    outputs = ensemble.members(x).detach().double()
    found = torch.einsum("mno,mpo->np", outputs, outputs) / (2 * 4000)
    expected = gram("random_features", x.double(), x.double())
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * float(expected.max()) * math.sqrt(2 / 8000))


@pytest.mark.parametrize("kind", [InfiniteReLUEnsemble, ReLUEnsemble])
def test_training_reaches_zero_error(kind: Any, tmp_path: Path) -> None:
    data = Permutation(size=4)
    torch.manual_seed(0)
    model = kind(4, 4, width=256, members=2, lr=0.1) if kind is ReLUEnsemble else kind(**data.spec.arguments)
    trainer = pl.Trainer(
        max_epochs=200, limit_val_batches=0, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    x, y = data.load("train")
    # the slowest mode of descent decays by more than 0.1 of itself a step here: e^-20
    torch.testing.assert_close(model(x).detach(), y, rtol=0, atol=1e-4)
    assert kind is ReLUEnsemble or trainer.current_epoch == 1, "a closed form stops after an epoch"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Permutation(size=0), "size must be at least 1, got 0"),
        (lambda: Permutation(size=4, ones=5), "ones must be between 1 and size = 4, got 5"),
        (lambda: Permutation(size=4, ones=0), "ones must be between 1 and size = 4, got 0"),
        (lambda: Permutation(most=0), "most must be at least 1, got 0"),
        (lambda: InfiniteReLUEnsemble(4, 4, 0), "samples must be at least 1, got 0"),
        (lambda: InfiniteReLUEnsemble(4, 4, 4, kernel="rbf"), "kernel must be 'ntk' or 'random_features', got 'rbf'"),
        (lambda: ReLUEnsemble(4, 4, members=0), "members must be at least 1, got 0"),
        (lambda: ReLUEnsemble(4, 4, weight_std=0.0), "weight_std must be positive, got 0.0"),
        (lambda: EnsembleSize(models=0), "models must be at least 1, got 0"),
        (lambda: EnsembleSize(shares=[90.0]), r"shares must lie in \(0, 1\], got 90.0"),
    ],
)
def test_bad_input_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_the_callback_refuses_what_it_cannot_measure() -> None:
    model = InfiniteReLUEnsemble(10, 10, 10)
    assert "OddTarget has none" in EnsembleSize().refusal(model, OddTarget())
    assert "not from TwoLayerReLU" in EnsembleSize().refusal(TwoLayerReLU(10), Permutation())
    assert EnsembleSize().refusal(model, Permutation()) == ""
