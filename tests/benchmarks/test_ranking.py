"""Areas under two curves against counts of pairs and scikit-learn, and what has no area."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from benchmarks.observables.ranking import Ranking, areas
from datamodules import Digits, PhysioNet2012


def sample(size: int = 60) -> tuple[Tensor, Tensor]:
    """Scores with ties, and labels that they tell something of."""
    draw = torch.Generator().manual_seed(0)
    labels = (torch.rand(size, generator=draw) < 0.3).long()
    return (torch.randn(size, generator=draw) + labels).mul(3).round(), labels


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    score, labels = sample()
    pairs = score[labels == 1][:, None] - score[labels == 0]
    share = (pairs > 0).double().mean() + (pairs == 0).double().mean() / 2
    assert float(areas(score, labels)["auroc"]) == pytest.approx(float(share), abs=1e-6)  # float32


def test_auprc_is_the_average_precision() -> None:
    score, labels = sample()
    expected = average_precision_score(labels.numpy(), score.numpy())
    assert float(areas(score, labels)["auprc"]) == pytest.approx(expected, abs=1e-6)


def test_only_the_order_counts_also_beyond_what_a_probability_can_tell() -> None:
    score, labels = sample()
    expected = areas(score, labels)
    for other in (score * 1e3 + 1e5, score.exp(), score * 1e-6):
        assert areas(other, labels) == expected


def test_perfect_reversed_and_constant_scores() -> None:
    _, labels = sample()
    share = float(labels.float().mean())
    for score, auroc in ((labels, 1.0), (-labels, 0.0), (torch.zeros(len(labels)), 0.5)):
        assert float(areas(score.float(), labels)["auroc"]) == auroc
    assert float(areas(labels.float(), labels)["auprc"]) == 1.0
    assert float(areas(torch.zeros(len(labels)), labels)["auprc"]) == pytest.approx(share)


class Logits(torch.nn.Module):
    """A model whose input is its output, as a callback sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, float] = {}

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:1]

    def forward(self, logits: Tensor) -> Tensor:
        return logits

    def log(self, name: str, value: Tensor) -> None:
        self.logged[name] = float(value)


def trainer_of(batch: tuple[Tensor, ...], checking: bool = False) -> Any:
    return SimpleNamespace(sanity_checking=checking, datamodule=SimpleNamespace(tensors=lambda split: batch))


def test_a_model_that_knows_the_classes_ranks_perfectly() -> None:
    _, labels = sample()
    batch, model = (torch.nn.functional.one_hot(labels, 2).float(), labels), Logits()
    Ranking().on_test_epoch_end(trainer_of(batch), model)
    Ranking().on_validation_epoch_end(trainer_of((1 - batch[0], labels)), model)
    Ranking().on_validation_epoch_end(trainer_of(batch, checking=True), model)  # before the training: not logged
    share = float(labels.float().mean())
    assert model.logged["test/auroc"] == model.logged["test/auprc"] == 1.0
    assert model.logged["val/auroc"] == 0.0
    assert model.logged["val/auprc"] == pytest.approx(share)  # nobody is found before all are


def test_logits_that_are_not_finite_are_refused() -> None:
    batch = (torch.tensor([[0.0, torch.nan], [0.0, 1.0]]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="the logits of test are not finite"):
        Ranking().on_test_epoch_end(trainer_of(batch), Logits())


def test_it_refuses_more_than_two_classes() -> None:
    model: Any = None
    assert Ranking().refusal(model, PhysioNet2012()) == ""
    assert Ranking().refusal(model, Digits()) == "Digits has 10 classes, and a ranking two"


def test_labels_that_are_all_equal_are_refused() -> None:
    batch = (torch.randn(4, 2), torch.ones(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"the labels of test are all \[1\]: no area is defined"):
        Ranking().on_test_epoch_end(trainer_of(batch), Logits())
