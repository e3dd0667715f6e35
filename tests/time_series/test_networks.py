"""The review's networks: published sizes, padding, class activations, and Keras' recipes in torch's terms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.time_series._keras import SameConv1d, halve_on_plateau

#: Trainable parameters for (length, classes), as the authors' networks have them on univariate series.
COUNTS = {
    ("MLP", 24, 2): 514_502,
    ("MLP", 150, 2): 577_502,
    ("MLP", 251, 3): 628_503,
    ("FCN", 24, 2): 264_962,
    ("FCN", 150, 2): 264_962,
    ("FCN", 251, 3): 265_091,
    ("ResNet1d", 24, 2): 504_258,
    ("ResNet1d", 150, 2): 504_258,
    ("ResNet1d", 251, 3): 504_387,
}


def made(name: str, length: int = 24, classes: int = 2) -> Any:
    torch.manual_seed(0)
    arguments = {"in_channels": 1, "num_classes": classes} | ({"length": length} if name == "MLP" else {})
    return zoo.create(name, **arguments)


def settled(model: Any) -> Any:
    """The model in eval mode with statistics, scales and shifts that are not trivial."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            for tensor, low in ((part.running_mean, -0.5), (part.running_var, 0.5), (part.weight, 0.5)):
                assert tensor is not None
                nn.init.uniform_(tensor, low, low + 1)
    return model.eval()


@pytest.mark.parametrize(("name", "length", "classes"), list(COUNTS))
def test_parameters_are_counted_as_published(name: str, length: int, classes: int) -> None:
    assert sum(p.numel() for p in made(name, length, classes).parameters()) == COUNTS[name, length, classes]


@pytest.mark.parametrize("kernel", [3, 5, 8])
def test_same_padding_is_that_of_torch_and_keras(kernel: int) -> None:
    """Keras pads (k - 1) // 2 before and the rest after; torch's padding="same" is the same, with a warning."""
    torch.manual_seed(0)
    ours, theirs, x = SameConv1d(2, 3, kernel), nn.Conv1d(2, 3, kernel, padding="same"), torch.randn(4, 2, 20)
    theirs.load_state_dict(ours.state_dict())
    with pytest.warns(UserWarning, match="even kernel") if kernel % 2 == 0 else torch.no_grad():
        expected = theirs(x)
    torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("name", ["FCN", "ResNet1d"])
def test_class_activations_average_to_the_logits(name: str) -> None:
    """logit_c = mean_t sum_k V_ck A_k(t) + bias_c: global average pooling and the classifier commute."""
    model, x = settled(made(name)), torch.randn(5, 1, 40)
    activation = model.class_activation(x)
    assert activation.shape == (5, 2, 40)
    torch.testing.assert_close(activation.mean(-1) + model.network.classifier.bias, model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["FCN", "ResNet1d"])
def test_series_of_any_length_are_classified_and_far_zeros_do_not_matter(name: str) -> None:
    """The receptive field is finite: where two series agree around t, so do their activations at t."""
    model, x = settled(made(name)), torch.randn(1, 1, 200)
    other = x.clone()
    other[..., 150:] = 0
    ours, theirs = model.class_activation(x), model.class_activation(other)
    torch.testing.assert_close(ours[..., :100], theirs[..., :100])
    assert not torch.allclose(ours[..., 150:], theirs[..., 150:])


def test_the_mlp_drops_out_in_training_only() -> None:
    model, x = made("MLP"), torch.randn(5, 1, 24)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    assert [part.p for part in model.modules() if isinstance(part, nn.Dropout)] == [0.1, 0.2, 0.2, 0.3]


def keras_rates(losses: list[float], patience: int, min_lr: float, lr: float = 1.0) -> list[float]:
    """Keras' ReduceLROnPlateau (factor 0.5, min_delta 1e-4, no cooldown), as its documentation states it."""
    best, wait, rates = float("inf"), 0, []
    for loss in losses:
        if loss < best - 1e-4:
            best, wait = loss, 0
        else:
            wait += 1
            if wait >= patience:
                lr, wait = max(lr / 2, min_lr), 0
        rates.append(lr)
    return rates


@pytest.mark.parametrize("patience", [2, 3, 5])
def test_the_plateau_schedule_drops_at_the_epoch_at_which_keras_does(patience: int) -> None:
    torch.manual_seed(0)
    losses = (torch.rand(60) * 0.3 + torch.linspace(1, 0.5, 60)).tolist() + [0.4] * 40 + [0.39995, 0.3] * 5
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: Any = halve_on_plateau(optimizer, patience, min_lr=0.1)["lr_scheduler"]["scheduler"]  # type: ignore[index]
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == keras_rates(losses, patience, 0.1)
    assert rates[-1] == 0.1


def recipe(model: Any) -> tuple[torch.optim.Optimizer, Any]:
    both = model.configure_optimizers()
    return both["optimizer"], both["lr_scheduler"]


@pytest.mark.parametrize(
    ("name", "optimizer", "lr", "patience", "min_lr"),
    [
        ("MLP", torch.optim.Adadelta, 1.0, 200, 0.1),
        ("FCN", torch.optim.Adam, 1e-3, 50, 1e-4),
        ("ResNet1d", torch.optim.Adam, 1e-3, 50, 1e-4),
    ],
)
def test_the_recipes_are_the_papers(name: str, optimizer: type, lr: float, patience: int, min_lr: float) -> None:
    made_optimizer, schedule = recipe(made(name))
    assert isinstance(made_optimizer, optimizer)
    assert made_optimizer.param_groups[0]["lr"] == lr
    assert made_optimizer.param_groups[0]["eps"] == 1e-7
    assert schedule["monitor"] == "train/loss"
    assert schedule["scheduler"].patience + 1 == patience
    assert schedule["scheduler"].min_lrs == [min_lr]


def test_initialisation_is_glorot_uniform_with_zero_biases() -> None:
    model = made("MLP", length=150)
    for part in (p for p in model.modules() if isinstance(p, nn.Linear)):
        limit = (6 / (part.in_features + part.out_features)) ** 0.5
        weight: Tensor = part.weight.detach()
        assert float(weight.abs().max()) <= limit
        # of n uniform draws the largest is within limit / n of it on average; ten times that
        assert float(weight.abs().max()) > limit * (1 - 10 / weight.numel())
        assert not part.bias.any()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("FCN", {"in_channels": 0, "num_classes": 2}, "in_channels must be at least 1, got 0"),
        ("FCN", {"in_channels": 1, "num_classes": 1}, "num_classes must be at least 2, got 1"),
        ("ResNet1d", {"in_channels": 1, "num_classes": 2, "batchnorm_momentum": 0.0}, r"must lie in \(0, 1\], got 0.0"),
        ("MLP", {"in_channels": 1, "length": 0, "num_classes": 2}, "length must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create(name, **arguments)
