"""Trained rank pruning: truncation, the nuclear norm, and two thin convolutions in place of one (Xu et al., 2020)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from benchmarks import resume, train
from benchmarks.observables.sparse.low_rank import LowRank
from datamodules import Digits
from tests.benchmarks.suites import Interruption
from tests.benchmarks.test_resume import assert_same, execute
from zoo.residual import ResNet2d
from zoo.sparse import FullyConnected, RigL, TrainedRankPruning
from zoo.sparse.rank_pruning import (
    as_kernel,
    as_matrix,
    cost,
    decompose,
    energy_rank,
    nuclear_subgradient,
    truncate,
    truncated,
    wide_convolutions,
)

SCHEMES = ("channel", "spatial")


def spectrum(*singular: float) -> Tensor:
    """A 6 × 9 matrix with these singular values."""
    source = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=source, dtype=torch.double))[0] for n in (6, 9))
    values = torch.zeros(6, 9, dtype=torch.double)
    values[range(len(singular)), range(len(singular))] = torch.tensor(singular, dtype=torch.double)
    return left @ values @ right


@pytest.mark.parametrize("order", [1, -1])
def test_it_shares_no_layer_with_a_method_of_masks(order: int) -> None:
    """Whichever comes first, the other one is refused: a truncated kernel would be a product that nobody keeps."""
    model, data = ResNet2d(1, 10, (4, 8)), Digits()
    methods: list[Any] = [TrainedRankPruning(), RigL(density=0.5)]
    first, second = methods[::order]
    assert first.refusal(model, data) == ""
    assert "leave one of" in second.refusal(model, data)


@pytest.mark.parametrize(
    ("squares", "rank"),
    [
        ((90.1, 5.9, 4.0), 1),
        ((89.9, 6.1, 4.0), 2),
        ((50.0, 39.9, 0.2, 9.9), 3),  # sorted: 50, 39.9, 9.9, 0.2
        ((1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 6),
        ((100.0,), 1),
    ],
)
def test_truncation_keeps_the_least_rank_that_holds_the_energy(squares: tuple[float, ...], rank: int) -> None:
    matrix = spectrum(*(s**0.5 for s in squares))
    left, singular, right = truncated(matrix, 0.9)
    assert len(singular) == rank
    kept = left * singular @ right
    assert torch.linalg.matrix_rank(kept) == rank
    assert float(kept.square().sum()) >= 0.9 * sum(squares)
    if rank > 1:
        fewer = truncated(matrix, 0.9, rank - 1)[1]
        assert float(fewer.square().sum()) < 0.9 * sum(squares)


def test_all_energy_takes_every_rank_and_a_zero_matrix_takes_one() -> None:
    assert energy_rank(torch.tensor([3.0, 2.0, 1.0]), 1.0) == 3
    assert energy_rank(torch.zeros(3), 0.9) == 1


def test_the_error_of_a_truncation_is_the_energy_of_the_tail() -> None:
    """Eckart and Young: ||M - M_r||_F^2 = sum of sigma_i^2 for i > r, and no other matrix of that rank is nearer."""
    values = (5.0, 3.0, 2.0, 1.0, 0.5)
    matrix = spectrum(*values)
    for rank in range(1, 6):
        left, singular, right = truncated(matrix, 0.9, rank)
        error = float((matrix - left * singular @ right).square().sum())
        assert error == pytest.approx(sum(v**2 for v in values[rank:]), rel=1e-12, abs=1e-24)
        basis = torch.linalg.qr(torch.randn(6, rank, dtype=torch.double))[0]
        assert float((matrix - basis @ (basis.T @ matrix)).square().sum()) >= error


def test_the_subgradient_meets_the_nuclear_norm_and_has_norm_one() -> None:
    """<U V^T, W> = ||W||_* and ||U V^T||_2 = 1: the two conditions on a subgradient of the nuclear norm."""
    matrix = torch.randn(8, 18, dtype=torch.double)
    direction = nuclear_subgradient(matrix)
    norm = float(torch.linalg.matrix_norm(matrix, "nuc"))
    assert float((direction * matrix).sum()) == pytest.approx(norm, rel=1e-12)
    assert float(torch.linalg.matrix_norm(direction, 2)) == pytest.approx(1.0, rel=1e-12)
    # truncated, it meets the singular values that it keeps
    values = (4.0, 3.0, 1.0)
    assert float((nuclear_subgradient(spectrum(*values), 0.9) * spectrum(*values)).sum()) == pytest.approx(7.0)


def test_the_subgradient_is_the_gradient_where_there_is_one() -> None:
    matrix = torch.randn(5, 7, dtype=torch.double, requires_grad=True)
    torch.linalg.matrix_norm(matrix, "nuc").backward()
    torch.testing.assert_close(nuclear_subgradient(matrix.detach()), matrix.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("scheme", "shape"), [("channel", (5, 2 * 3 * 4)), ("spatial", (2 * 3, 5 * 4))])
def test_a_kernel_and_its_matrix_hold_the_same_numbers_once(scheme: str, shape: tuple[int, int]) -> None:
    kernel = torch.arange(5 * 2 * 3 * 4).view(5, 2, 3, 4)
    matrix = as_matrix(kernel, scheme)
    assert matrix.shape == shape
    assert torch.equal(matrix.flatten().sort().values, kernel.flatten())
    assert torch.equal(as_kernel(matrix, kernel.shape, scheme), kernel)
    if scheme == "spatial":
        assert matrix[1 * 3 + 2, 4 * 4 + 3] == kernel[4, 1, 2, 3]  # row (in, kh), column (out, kw)


class Convolutions(nn.Module):
    """Convolutions of unlike strides, paddings, dilations and sizes, one with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3)
        self.strided = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False)
        self.oblong = nn.Conv2d(8, 7, (3, 5), stride=(1, 2), padding=(1, 3), dilation=(2, 1))
        self.same = nn.Conv2d(7, 9, 3, padding="same", padding_mode="reflect")
        self.narrow = nn.Conv2d(9, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.strided, self.oblong, self.same):
            x = layer(x).tanh()
        return self.narrow(x)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_decomposed_network_is_the_truncated_one(scheme: str) -> None:
    torch.manual_seed(0)
    model, x = Convolutions().double(), torch.randn(3, 1, 20, 22, dtype=torch.double)
    ranks = {"strided": 2, "oblong": 3, "same": 1}
    made, found = decompose(model, scheme, ranks=ranks)
    assert found == ranks
    for name, layer in wide_convolutions(model).items():
        assert isinstance(made.get_submodule(name), nn.Sequential)
        truncate(layer, scheme, rank=ranks[name])
    torch.testing.assert_close(made(x), model(x), rtol=1e-10, atol=1e-10)


def test_weights_and_multiplications_are_those_counted_by_hand() -> None:
    """One 3×3 layer, 4 to 6 channels of 8×8, at rank 2: 2 (4·9 + 6) by channel, 2 (4·3 + 6·3) by space."""
    x = torch.randn(1, 4, 8, 8)
    for stride, scheme, weights, multiplications in (
        (1, "channel", 2 * 36 + 6 * 2, 64 * (2 * 36 + 6 * 2)),
        (1, "spatial", 2 * 12 + 6 * 6, 64 * (2 * 12 + 6 * 6)),
        (2, "channel", 84, 16 * 84),
        (2, "spatial", 60, 4 * 8 * 24 + 4 * 4 * 36),  # the first of two halves the height alone
    ):
        model = nn.Sequential(nn.Conv2d(4, 6, 3, stride, padding=1))
        assert cost(model, x) == (216, 216 * 64 // stride**2)
        made, _ = decompose(model, scheme, ranks={"0": 2}, skip=0)
        assert cost(made, x) == (weights, multiplications)


def test_a_layer_that_factors_would_not_shrink_stays_one() -> None:
    """4 (36 + 6) = 168 < 216 weights at rank 4, but 6 (36 + 6) = 252 at rank 6."""
    model = nn.Sequential(nn.Conv2d(4, 6, 3))
    assert isinstance(decompose(model, "channel", ranks={"0": 4}, skip=0)[0][0], nn.Sequential)  # type: ignore[index]
    whole = decompose(model, "channel", ranks={"0": 6}, skip=0)[0]
    assert isinstance(whole[0], nn.Conv2d)  # type: ignore[index]
    torch.testing.assert_close(whole[0].weight, model[0].weight)  # type: ignore[index]


def test_first_narrow_and_grouped_convolutions_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 3))
    assert list(wide_convolutions(model)) == ["3"]
    assert list(wide_convolutions(model, skip=0)) == ["0", "3"]
    layers = wide_convolutions(ResNet2d(1, 10))
    assert list(layers) == [f"blocks.{block}.residual.{place}" for block in range(3) for place in (0, 3)]


CONFIG: dict[str, Any] = {
    "data": {"class_path": "datamodules.Digits", "init_args": {"batch_size": 256}},
    "model": {
        "class_path": "zoo.residual.ResNet2d",
        "init_args": {"in_channels": 1, "num_classes": 10, "widths": [6, 8]},
    },
    "fit": True,
}


class Watch(pl.Callback):
    """Notes the ranks of a layer when a step begins and just after it."""

    def __init__(self) -> None:
        self.ranks: list[tuple[int, int]] = []

    def _rank(self, module: Any) -> int:
        return int(torch.linalg.matrix_rank(as_matrix(module.blocks[1].residual[3].weight, "channel"), rtol=1e-4))

    def on_before_zero_grad(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.before = self._rank(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.ranks.append((self.before, self._rank(pl_module)))


def test_kernels_are_truncated_before_every_third_step_and_free_between(tmp_path: Path) -> None:
    pruning = {"class_path": "zoo.sparse.TrainedRankPruning", "init_args": {"every": 3, "energy": 0.6, "nuclear": 0.0}}
    watch = Watch()
    config = CONFIG | {"callbacks": [pruning], "trainer": {"max_steps": 7}}
    train.run(config, 0, tmp_path, callbacks=[watch])
    low = [before < 8 for before, _ in watch.ranks]
    assert low == [True, False, False, True, False, False, True]
    assert all(after == 8 for _, after in watch.ranks), "a step leads out of the low-rank kernels"


@pytest.mark.parametrize("accumulated", [1, 2])
def test_an_interruption_at_a_truncation_or_between_two_changes_no_bit(
    accumulated: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five batches an epoch, interrupted after batches 6, where a truncation comes next, and 8."""
    monkeypatch.setattr(resume, "COST", 0)
    pruning = {"class_path": "zoo.sparse.TrainedRankPruning", "init_args": {"every": 3, "energy": 0.7, "nuclear": 0.01}}
    trainer = {"max_steps": 10, "accumulate_grad_batches": accumulated}
    config = CONFIG | {"callbacks": [pruning], "trainer": trainer}
    expected = execute(config, tmp_path / "whole")
    for after in (6, 8):
        with pytest.raises(ConnectionError):
            execute(config, tmp_path / str(after), [Interruption(after, "crash")], every=1e-9)
        assert_same(execute(config, tmp_path / str(after)), expected)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_gradient_of_the_nuclear_norm_is_added_once(scheme: str) -> None:
    model = ResNet2d(1, 10, widths=(4,)).double()
    layers = wide_convolutions(model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.grad = torch.ones_like(layer.weight)
    callback = TrainedRankPruning(scheme, energy=1.0, nuclear=0.25)
    callback.on_before_optimizer_step(None, model, None)
    for layer in layers.values():
        assert layer.weight.grad is not None
        added = float(((layer.weight.grad - 1) * layer.weight).sum().detach())
        norm = float(torch.linalg.matrix_norm(as_matrix(layer.weight.detach(), scheme), "nuc"))
        assert added == pytest.approx(0.25 * norm, rel=1e-10)
    stem = model.stem[0].weight
    assert stem.grad is not None
    assert torch.equal(stem.grad, torch.ones_like(stem))


def test_the_observable_measures_what_decomposition_gives(tmp_path: Path) -> None:
    observable = {"class_path": "benchmarks.observables.sparse.low_rank.LowRank", "init_args": {"shares": [0.5, 1.0]}}
    outcome = train.run(CONFIG | {"callbacks": [observable], "trainer": {"max_epochs": 3}}, 0, tmp_path)
    found = outcome.metrics
    assert found["test/drop_at_rank_1"] == 0.0
    assert found["test/factorised_drop"] == pytest.approx(
        found["test/accuracy"] - found["test/factorised_accuracy"], abs=1e-6
    )
    ranks = outcome.arrays["ranks"][0]
    assert ranks[:, 1].tolist() == [6, 6, 8, 8]
    assert float((ranks[:, 0] / ranks[:, 1]).mean()) == pytest.approx(found["test/rank_share"])
    data = Digits()
    model = ResNet2d.load_from_checkpoint(tmp_path / "checkpoint.ckpt", weights_only=True).eval()
    made, _ = decompose(model, "channel", ranks=dict(zip(wide_convolutions(model), [3, 3, 4, 4], strict=True)))
    images, labels = data.load("test")
    dropped = [float((m(images).argmax(1) == labels).float().mean()) for m in (model, made)]
    # a single image may change sides by rounding in batches of another size
    assert found["test/drop_at_rank_0.5"] == pytest.approx(dropped[0] - dropped[1], abs=1.5 / 355)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "rows"}, "scheme must be one of 'channel', 'spatial', got 'rows'"),
        ({"energy": 0.0}, r"energy must lie in \(0, 1\], got 0.0"),
        ({"energy": 1.1}, r"energy must lie in \(0, 1\], got 1.1"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"nuclear": -1.0}, "nuclear must not be negative, got -1.0"),
        ({"skip": -1}, "skip must not be negative, got -1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainedRankPruning(**arguments)


def test_what_has_no_such_layers_or_ranks_is_refused() -> None:
    dense, residual = FullyConnected(64, 10, (4,)), ResNet2d(1, 10, widths=(4,))
    assert "FullyConnected has no ungrouped convolution" in TrainedRankPruning().refusal(dense, Digits())
    assert "FullyConnected has no convolution" in LowRank().refusal(dense, Digits())
    assert TrainedRankPruning().refusal(residual, Digits()) == LowRank().refusal(residual, Digits()) == ""
    with pytest.raises(ValueError, match="FullyConnected has no ungrouped convolution"):
        decompose(dense, "channel")
    with pytest.raises(ValueError, match=r"blocks\.0\.residual\.0 has ranks from 1 to 4, got 5: choose one of them"):
        decompose(residual, "channel", ranks={"blocks.0.residual.0": 5})
    with pytest.raises(ValueError, match=r"ranks has none for the layer blocks\.0\.residual\.0"):
        decompose(residual, "channel", ranks={})
    with pytest.raises(ValueError, match=r"shares must lie in \(0, 1\], got \[0.0\]"):
        LowRank(shares=[0.0])
