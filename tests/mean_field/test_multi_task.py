"""Tasks that share directions, and what a shared first layer learns of them (Collins et al., 2024)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from benchmarks.observables.mean_field.transfer import Transfer, ridge
from datamodules import OddTarget, SignPatternTasks
from zoo.mean_field import MultiTaskReLU, TwoLayerReLU


def made(seed: int = 0, **hyperparameters: Any) -> MultiTaskReLU:
    torch.manual_seed(seed)
    model: MultiTaskReLU = MultiTaskReLU(**{"in_features": 6, "tasks": 3, "width": 32} | hyperparameters)
    return model


def test_tables_are_balanced_and_belong_to_the_seed() -> None:
    one, same, other = (SignPatternTasks(tasks=8, seed=seed) for seed in (0, 0, 1))
    assert one.tables.shape == (8, 16)
    assert set(one.tables.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(one.tables.sum(1), torch.zeros(8))
    assert torch.equal(one.tables, same.tables)
    assert not torch.equal(one.tables, other.tables)


def test_labels_depend_on_the_signs_of_the_first_coordinates_alone() -> None:
    data = SignPatternTasks(dim=6, directions=2, tasks=5, batch_size=512, steps_per_epoch=1)
    x, y = next(iter(data.train_dataloader()))
    for pattern in range(4):
        signs = torch.tensor([pattern % 2, pattern // 2]) > 0
        same = y[((x[:, :2] > 0) == signs).all(1)]
        assert len(same) > 50
        assert torch.equal(same, data.tables[:, pattern].expand_as(same))


def test_new_tasks_are_the_same_for_every_number_of_training_tasks() -> None:
    few, many = SignPatternTasks(tasks=1).probe(), SignPatternTasks(tasks=64).probe()
    for one, other in zip([*few[0], *few[1]], [*many[0], *many[1]], strict=True):
        assert torch.equal(one, other)
    (x, y), (test_x, test_y) = few
    assert (len(x), len(test_x), y.shape[1], test_y.shape[1]) == (500, 2000, 20, 20)
    assert not torch.isin(x[:, 0], test_x[:, 0]).any(), "samples to learn from are not tested"


def test_the_loss_at_the_start_is_log_2_for_every_task() -> None:
    model, y = made(), torch.ones(4, 3)
    assert float(model.step((torch.randn(4, 6), y))["loss"].detach()) == pytest.approx(math.log(2))


def test_alignment_at_the_start_is_the_share_of_the_directions() -> None:
    """Independent entries: E[share] = r / d, and 20,000 rows of 6 entries scatter by about 1e-3 around it."""
    assert float(made(width=20_000).alignment(2).detach()) == pytest.approx(2 / 6, abs=5e-3)
    assert float(made(subspace=2).alignment(2).detach()) == 1.0


def test_untrained_features_depend_on_scale_by_a_factor_alone() -> None:
    x = torch.randn(10, 6)
    torch.testing.assert_close(made(scale=0.3).features(x), 3 * made(scale=0.1).features(x))


def test_features_of_a_subspace_see_nothing_else() -> None:
    model, x = made(subspace=2), torch.randn(10, 6)
    changed = torch.cat([x[:, :2], torch.randn(10, 4)], 1)
    assert torch.equal(model.features(x), model.features(changed))


def test_gradients_of_the_first_layer_are_sums_over_tasks() -> None:
    """Heads do not touch each other: the gradient for W on T tasks is the mean of those on single ones."""
    model = made().double()
    torch.nn.init.normal_(model.heads.weight)
    x, y = torch.randn(20, 6).double(), torch.randint(0, 2, (20, 3)).double() * 2 - 1
    model.step((x, y))["loss"].backward()
    assert model.first.weight.grad is not None
    together, single = model.first.weight.grad.clone(), torch.zeros_like(model.first.weight)
    for task in range(3):
        model.zero_grad()
        torch.nn.functional.softplus(-(y * model(x))[:, task]).mean().backward()
        single += model.first.weight.grad / 3
    torch.testing.assert_close(together, single, rtol=1e-12, atol=1e-14)


def test_the_probe_solves_the_normal_equations_of_standardised_features() -> None:
    """At the minimum the gradient of ||Y - Z B - c||^2 + penalty ||B||^2 is zero, for B and for c."""
    torch.manual_seed(0)
    features, labels = 3 + 2 * torch.randn(40, 5).double(), torch.randn(40, 4).double()
    fitted = ridge(features, labels, features, 10.0)
    residual = labels - fitted
    z = (features - features.mean(0)) / features.std(0, correction=0)
    b = torch.linalg.lstsq(z, fitted - fitted.mean(0)).solution
    torch.testing.assert_close(z.T @ residual, 10.0 * b, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(residual.sum(0), torch.zeros(4).double(), rtol=0, atol=1e-11)
    # scale and offset of a feature do not matter, and a constant one is as good as none
    more = torch.cat([5 * features - 1, torch.ones(40, 1).double()], 1)
    torch.testing.assert_close(ridge(more, labels, more, 10.0), fitted, rtol=1e-9, atol=1e-10)


def test_a_probe_of_all_sign_patterns_is_exact() -> None:
    """Indicator features of the patterns make every new task linear."""
    (x, y), (test_x, test_y) = SignPatternTasks(dim=6, directions=3).probe()
    patterns = [torch.nn.functional.one_hot(((t[:, :3] > 0) * 2 ** torch.arange(3)).sum(1), 8) for t in (x, test_x)]
    assert (ridge(patterns[0], y, patterns[1], 10.0).sign() == test_y).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": 0}, "tasks must be at least 1, got 0"),
        ({"directions": 7, "dim": 6}, "directions must be at most dim = 6, got 7"),
        ({"directions": 0}, "directions must be at least 1, got 0"),
        ({"new_samples": 0}, "new_samples must be at least 1, got 0"),
    ],
)
def test_bad_data_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SignPatternTasks(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"tasks": 0}, "tasks must be at least 1, got 0"),
        ({"scale": 0.0}, "scale must be positive, got 0.0"),
        ({"lr": -1.0}, "lr must be positive, got -1.0"),
        ({"subspace": 7}, "subspace must be between 1 and in_features = 6, got 7"),
    ],
)
def test_bad_hyperparameters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**arguments)


def test_the_callback_refuses_what_it_cannot_follow() -> None:
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        Transfer(every=0)
    with pytest.raises(ValueError, match="penalty must be positive, got 0"):
        Transfer(penalty=0.0)
    assert "OddTarget has none" in Transfer().refusal(made(), OddTarget())
    assert "not of TwoLayerReLU" in Transfer().refusal(TwoLayerReLU(50), SignPatternTasks())
    assert Transfer().refusal(made(), SignPatternTasks()) == ""
