"""Low-rank updates that are merged and begun anew, and the schedule that goes with them (Lialin et al., 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.lr_scheduler import CosineAnnealingLR

import zoo
from benchmarks.observables.sparse.update_rank import UpdateRank, update
from datamodules import BatchDataModule, BatchLoader, Field, MarkovText, Spec
from tests.benchmarks.suites import Interruption
from tests.benchmarks.test_resume import assert_same, execute
from zoo._module import ZooModule
from zoo.residual import ResNet2d
from zoo.sparse import CausalTransformer, FullyConnected, LowRankUpdate, ReLoRA, RestartedCosine
from zoo.sparse.relora import prune


class Student(ZooModule):
    """x W^T in double precision; the loss on the basis vectors is ||W - W*||^2, with W* in the rows of the batch."""

    def __init__(self, size: int, optimizer: str = "Adam", lr: float = 0.03, schedule: dict[str, Any] | None = None):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(size, size, bias=False).double()
        nn.init.zeros_(self.layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": (self(x) - y).square().sum()}

    def configure_optimizers(self) -> Any:
        kind = getattr(torch.optim, self.hparams["optimizer"])
        optimizer = kind(self.parameters(), lr=self.hparams["lr"])
        if not (schedule := self.hparams["schedule"]):
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": RestartedCosine(optimizer, **schedule), "interval": "step"},
        }


class Basis(BatchDataModule):
    """All basis vectors in every batch, with what a linear teacher makes of them."""

    def __init__(self, target: Tensor) -> None:
        super().__init__(batch_size=len(target), seed=0)
        self.pair = torch.eye(len(target)).double(), target.T.contiguous()

    @property
    def spec(self) -> Spec:
        field = Field((self.batch_size,), torch.float64)
        return Spec((field, field), {}, {"train": self.batch_size}, "1")

    def loader(self, split: str) -> BatchLoader:
        return BatchLoader(lambda epoch, position: self.pair, 100)


def teacher(spectrum: Sequence[float], size: int) -> Tensor:
    """A matrix with these singular values."""
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.linalg.qr(torch.randn(size, size, generator=generator).double())[0] for _ in range(2))
    values = torch.zeros(size).double()
    values[: len(spectrum)] = torch.tensor(spectrum).double()
    return left * values @ right.T


def trained(
    model: pl.LightningModule, batches: Any, steps: int, *callbacks: pl.Callback, accumulated: int = 1
) -> pl.Trainer:
    """A model after so many steps."""
    trainer = pl.Trainer(
        max_steps=steps,
        limit_val_batches=0,
        accumulate_grad_batches=accumulated,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, batches)
    return trainer


def taught(target: Tensor, steps: int, relora: ReLoRA, **student: Any) -> Tensor:
    """The weight of a student of a linear teacher."""
    torch.manual_seed(0)
    model = Student(len(target), **student)
    trained(model, Basis(target), steps, relora)
    return model.layer.weight.detach()


def text() -> MarkovText:
    return MarkovText(alphabet=6, size=4000, context=8, batch_size=16)


def transformer(**hyperparameters: Any) -> CausalTransformer:
    torch.manual_seed(0)
    sizes = {"vocab_size": 6, "context": 8, "width": 8, "hidden": 12, "depth": 1, "heads": 2}
    return CausalTransformer(**sizes | hyperparameters)


def filled(relora: ReLoRA) -> None:
    """Updates in the midst of a period: B is not zero."""
    for _, low_rank in relora._pairs():
        nn.init.normal_(low_rank.b)


@pytest.mark.parametrize("kind", ["linear", "convolutional"])
def test_a_merge_changes_no_bit_of_the_forward(kind: str) -> None:
    """W takes the very numbers that acted before, and an update with B = 0 adds zeros to them."""
    if kind == "linear":
        model, x, layers = transformer(), torch.randint(6, (3, 8)), None
        nn.init.normal_(model.head.weight)
    else:
        model, x, layers = ResNet2d(in_channels=1, num_classes=3, widths=(4, 8, 8)), torch.randn(2, 1, 8, 8), "blocks.*"
    model.eval()
    plain = model(x)
    relora = ReLoRA(rank=2, alpha=3.0, layers=layers)
    relora.install(model)
    assert torch.equal(model(x), plain), "an update starts at zero"
    filled(relora)
    before = model(x)
    assert not torch.allclose(before, plain)
    relora.restart([])
    assert torch.equal(model(x), before)
    filled(relora)
    before = model(x)
    relora.remove()
    assert torch.equal(model(x), before)


def test_gradients_at_the_start_of_a_period_are_those_of_the_product() -> None:
    """d loss / dB = (alpha / r) G A^T and d loss / dA = (alpha / r) B^T G, where G is the gradient for the weight."""
    torch.manual_seed(0)
    weight, gradient = torch.randn(2, 6, 5).double()
    low_rank = LowRankUpdate(weight, rank=3, alpha=6.0)
    (low_rank(weight) * gradient).sum().backward()
    assert low_rank.a.grad is not None
    assert not low_rank.a.grad.any()
    torch.testing.assert_close(low_rank.b.grad, 2.0 * gradient @ low_rank.a.detach().T)
    low_rank.zero_grad()
    nn.init.normal_(low_rank.b)
    (low_rank(weight) * gradient).sum().backward()
    torch.testing.assert_close(low_rank.a.grad, 2.0 * low_rank.b.detach().T @ gradient)


def test_a_is_drawn_as_in_a_linear_layer() -> None:
    """Uniform on ±1 / sqrt(n): the bound is kept, and the variance is 1 / 3n, to 5 % with 20,000 entries."""
    a = LowRankUpdate(torch.zeros(200, 100), rank=100, alpha=1.0).a.detach()
    assert float(a.abs().max()) <= 0.1
    b = torch.cat([LowRankUpdate(torch.zeros(200, 100), rank=100, alpha=1.0).a.detach() for _ in range(2)])
    assert float(b.var()) == pytest.approx(1 / 300, rel=0.05)


SPECTRUM = (4.0, 3.5, 2.0, 1.8, 1.6, 1.4, 1.2, 1.0)  # rank 4 r for r = 2, with a gap behind the first two


def test_lora_leaves_the_tail_of_the_spectrum_and_relora_learns_it() -> None:
    """The best matrix of rank r is the truncated one (Eckart and Young): its error is the energy of the rest."""
    target, tail = teacher(SPECTRUM, 12), sum(value**2 for value in SPECTRUM[2:])
    lora = taught(target, 400, ReLoRA(rank=2, alpha=2.0, every=None, layers="*"))
    assert float((lora - target).square().sum()) == pytest.approx(tail, rel=1e-6)  # it has converged
    schedule = {"total_steps": 600, "first_warmup": 10, "every": 100, "restart_warmup": 10}
    relora = taught(target, 600, ReLoRA(rank=2, alpha=2.0, every=100, layers="*"), schedule=schedule)
    assert float((relora - target).square().sum()) < 1e-2 * tail


@pytest.mark.parametrize(("steps", "rank"), [(20, 3), (40, 6), (60, 8), (80, 8)])
def test_the_rank_of_an_update_grows_by_r_with_every_period(steps: int, rank: int) -> None:
    """To min(N r, dimension), for a teacher of full rank; without restarts it stays r."""
    target = teacher(range(8, 0, -1), 8)
    zero = torch.zeros_like(target)
    assert update(taught(target, steps, ReLoRA(rank=3, alpha=3.0, every=20, layers="*")), zero)[1] == rank
    assert update(taught(target, steps, ReLoRA(rank=3, alpha=3.0, every=None, layers="*")), zero)[1] == 3


def test_frozen_weights_do_not_decay() -> None:
    """A W that decayed would add -W, of full rank, to an update of rank 2; the embedding, which trains, decays."""
    model, plain = transformer(lr=1e-2, weight_decay=0.5), transformer()
    trained(model, text(), 20, ReLoRA(rank=2, alpha=2.0, every=None))
    for name in ("blocks.0.attention.query", "blocks.0.gated.down"):
        end, start = (part.get_submodule(name).weight.detach() for part in (model, plain))
        assert update(end, start)[1] == 2
    assert not torch.equal(model.embedding.weight, plain.embedding.weight)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_warm_up_is_ordinary_training() -> None:
    """W + 0 is W: a training that ends with its warm-up has the bits of one without the callback."""
    dense, warm = transformer(), transformer()
    trained(dense, text(), 15)
    trained(warm, text(), 15, ReLoRA(rank=2, alpha=2.0, every=5, warm_up=15))
    assert all(torch.equal(tensor, dense.state_dict()[name]) for name, tensor in warm.state_dict().items())


def test_after_the_warm_up_the_weights_move_by_low_rank() -> None:
    model, watch = transformer(), UpdateRank(since=12)
    trainer = trained(model, text(), 27, ReLoRA(rank=2, alpha=2.0, every=5, warm_up=12), watch)
    trainer.test(model, text(), verbose=False)
    assert float(trainer.callback_metrics["test/update_rank_most"]) == 6
    assert float(trainer.callback_metrics["test/update_rank"]) == 6
    assert model.recorded["update/blocks.0.gated.up"].shape == (1, 8)
    assert update(model.blocks[0].gated.up.weight.detach(), transformer().blocks[0].gated.up.weight.detach())[1] == 8


class Counted(ReLoRA):
    """Notes the steps at which it restarts."""

    def restart(self, optimizers: list[torch.optim.Optimizer]) -> None:
        super().restart(optimizers)
        ((_, low_rank), *_) = self._pairs()
        self.seen = [*getattr(self, "seen", []), int(optimizers[0].state[low_rank.b]["step"])]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_periods_count_steps_of_the_optimiser(accumulated: int) -> None:
    """Of several batches whose gradients are accumulated, the last one ends a step."""
    relora = Counted(rank=2, alpha=2.0, every=4, warm_up=3)
    trained(transformer(), text(), 16, relora, accumulated=accumulated)
    assert relora.seen == [4, 8, 12]


def moments(how: str, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """First and second moments after a restart, and the first ones before it."""
    torch.manual_seed(0)
    model = Student(64)
    relora = ReLoRA(rank=32, alpha=32.0, layers="*", reset=how, pruned=share)
    relora.install(model)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model.step((torch.randn(64, 64).double(), torch.randn(64, 64).double()))["loss"].backward()
        optimizer.step()
    ((_, low_rank),) = relora._pairs()
    before = optimizer.state[low_rank.b]["exp_avg"].clone()
    relora.restart([optimizer])
    assert not optimizer.state[low_rank.a]["exp_avg"].count_nonzero() > math.floor((1 - share) * 2048 + 1e-9)
    return optimizer.state[low_rank.b]["exp_avg"], optimizer.state[low_rank.b]["exp_avg_sq"], before


def test_a_restart_leaves_a_thousandth_of_the_moments() -> None:
    mean, square, before = moments("random", 0.999)
    assert int(mean.count_nonzero()) == 2  # of 2,048
    assert torch.equal(mean != 0, square != 0), "both moments keep the same entries"
    assert torch.equal(mean[mean != 0], before[mean != 0])


def test_pruning_by_magnitude_keeps_the_greatest_means() -> None:
    mean, square, before = moments("magnitude", 0.9)
    kept = mean != 0
    assert int(kept.sum()) == 204  # of 2,048
    assert torch.equal(kept, square != 0)
    assert float(before[kept].abs().min()) >= float(before[~kept].abs().max())


def test_moments_of_momentum_are_pruned_and_counts_are_not() -> None:
    weight = nn.Parameter(torch.ones(10))
    makers = {
        "momentum_buffer": lambda: torch.optim.SGD([weight], lr=0.1, momentum=0.9),
        "exp_avg": lambda: torch.optim.Adam([weight], lr=0.1),
    }
    for name, make in makers.items():
        optimizer: torch.optim.Optimizer = make()
        weight.grad = torch.ones(10)
        optimizer.step()
        prune(optimizer, weight, "random", 0.75)
        assert int(optimizer.state[weight][name].count_nonzero()) == 2
        assert float(optimizer.state[weight].get("step", 1)) == 1


@pytest.mark.parametrize("first", [0, 20])
def test_the_rate_is_zero_after_a_restart_and_rises_to_the_cosine(first: int) -> None:
    parameter = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    schedule = RestartedCosine(optimizer, 400, first_warmup=first, every=100, restart_warmup=10, min_ratio=0.1)
    rates = []
    for _ in range(401):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    cosine = [0.2 + 1.8 * (1 + math.cos(math.pi * (t - first) / (400 - first))) / 2 for t in range(401)]
    assert rates[:first] == pytest.approx([2.0 * t / max(first, 1) for t in range(first)])
    assert rates[first:100] == pytest.approx(cosine[first:100])
    for restart in (100, 200, 300):
        top = cosine[restart + 10]
        assert rates[restart : restart + 11] == pytest.approx([top * t / 10 for t in range(11)])
        assert rates[restart + 10 : restart + 100] == pytest.approx(cosine[restart + 10 : restart + 100])


def test_without_restarts_the_schedule_is_torchs_cosine() -> None:
    rates: list[float] = []
    for mine in (True, False):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=2.0)
        schedule: Any = (
            RestartedCosine(optimizer, 50, min_ratio=0.25) if mine else CosineAnnealingLR(optimizer, 50, 0.5)
        )
        for _ in range(50):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert rates[:50] == pytest.approx(rates[50:], rel=1e-12)


def test_a_merged_model_is_an_ordinary_one(tmp_path: Path) -> None:
    model, tokens = transformer(), torch.randint(6, (3, 8))
    trainer = trained(model, text(), 12, ReLoRA(rank=2, alpha=2.0, every=5))
    assert model.state_dict().keys() == transformer().state_dict().keys()
    assert not any(parametrize.is_parametrized(part) for part in model.modules())
    trainer.save_checkpoint(tmp_path / "merged.ckpt", weights_only=True)
    entry = {"class_path": "zoo.sparse.CausalTransformer", "init_args": dict(model.hparams)}
    again = zoo.restore(entry | {"checkpoint": str(tmp_path / "merged.ckpt")})
    assert torch.equal(again(tokens), model.eval()(tokens))


@pytest.mark.parametrize("batch", [4, 10, 22, 25, 40])
def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(batch: int, tmp_path: Path) -> None:
    """Interrupted in the warm-up, at its end, at a restart, at the end of an epoch, and within a period."""
    sizes = {"vocab_size": 6, "context": 8, "width": 8, "hidden": 12, "depth": 1, "heads": 2}
    relora = {"rank": 2, "alpha": 2.0, "every": 12, "warm_up": 10}
    schedule = {"total_steps": None, "first_warmup": 2, "every": 12, "restart_warmup": 3}
    config = {
        "data": {
            "class_path": "datamodules.MarkovText",
            "init_args": {"alphabet": 6, "size": 4000, "context": 8, "batch_size": 16, "seed": 1},
        },
        "model": {"class_path": "zoo.sparse.CausalTransformer", "init_args": sizes},
        "fit": True,
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "lr_scheduler": {"class_path": "zoo.sparse.RestartedCosine", "init_args": schedule, "interval": "step"},
        "callbacks": [
            {"class_path": "zoo.sparse.ReLoRA", "init_args": relora},
            {"class_path": f"{UpdateRank.__module__}.UpdateRank", "init_args": {"since": 10}},
        ],
        "select": {"monitor": "val/loss"},
        "trainer": {"max_steps": 60},
    }
    expected = execute(config, tmp_path / "whole")
    with pytest.raises(SIGTERMException):
        execute(config, tmp_path / "broken", [Interruption(batch, "sigterm")])
    assert_same(execute(config, tmp_path / "broken"), expected)


def test_several_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ReLoRA trains on one device, got 2: give trainer\.devices: 1"):
        ReLoRA(rank=2).setup(SimpleNamespace(world_size=2), transformer(), "fit")


def refused(relora: ReLoRA, model: pl.LightningModule) -> str:
    return relora.refusal(model, text())


def test_what_cannot_be_trained_so_is_refused_before_anything_starts() -> None:
    with torch.device("meta"):
        assert refused(ReLoRA(rank=2), transformer()) == ""
        assert "layer blocks.0.attention.query: rank must be at most 8 for a matrix 8 × 8, got 9" in refused(
            ReLoRA(rank=9), transformer()
        )
        assert "no layer matches 'attention.*'; CausalTransformer has blocks.0.attention.query" in refused(
            ReLoRA(rank=2, layers="attention.*"), transformer()
        )
        assert "there is no linear layer before the last; Student has layer" in refused(ReLoRA(rank=2), Student(4))
        twice = transformer()
        assert refused(ReLoRA(rank=2, layers="*gated.up"), twice) == ""
        assert "the weight of blocks.0.gated.up is parametrised already" in refused(ReLoRA(rank=2), twice)
        tied = FullyConnected(4, 4, widths=(4, 4))
        tied.layers[1].weight = tied.layers[0].weight
        assert "the weight of layers.0 is shared with another layer" in refused(ReLoRA(rank=2), tied)
    own = Student(4)
    own.automatic_optimization = False
    assert "Student has stages or a loop of its own" in refused(ReLoRA(rank=2, layers="*"), own)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"alpha": 0.0}, "alpha must be positive, got 0.0"),
        ({"every": 0}, "every must be at least 1 step, or None for LoRA without restarts, got 0"),
        ({"warm_up": -1}, "warm_up must be at least 0, got -1"),
        ({"reset": "all"}, "reset must be one of 'random', 'magnitude', got 'all'"),
        ({"pruned": 0.0}, r"pruned must lie in \(0, 1\], got 0.0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReLoRA(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total_steps": None}, "total_steps is missing"),
        ({"total_steps": 0}, "total_steps must be at least 1, got 0"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"first_warmup": -1}, "first_warmup must be at least 0, got -1"),
        ({"first_warmup": 5, "every": 5}, "first_warmup must be less than every = 5, got 5"),
        ({"every": 5, "restart_warmup": 5}, "restart_warmup must be less than every = 5, got 5"),
        ({"min_ratio": 1.5}, r"min_ratio must lie in \[0, 1\], got 1.5"),
    ],
)
def test_bad_schedules_are_refused(arguments: dict[str, Any], message: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    with pytest.raises(ValueError, match=message):
        RestartedCosine(optimizer, **{"total_steps": 10} | arguments)


def test_the_rank_of_an_update_is_refused_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="since must be at least 0, got -1"):
        UpdateRank(since=-1)
    assert "no layer matches 'tail'" in UpdateRank(layers="tail").refusal(transformer(), text())


def test_rounding_is_no_rank() -> None:
    """Adding a matrix of rank 2 in single precision leaves differences of all ranks, below the threshold."""
    torch.manual_seed(0)
    start = torch.randn(40, 30)
    end = start + torch.randn(40, 2) @ torch.randn(2, 30)
    values, rank = update(end, start)
    assert rank == 2
    assert 0 < float(values[2]) < 1e-4 * float(values[1])
