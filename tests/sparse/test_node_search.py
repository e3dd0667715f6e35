"""Sub-networks of a wide network's nodes, and the random search among them (Farahani, 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from benchmarks import resume, train
from benchmarks.observables.sparse.convergence import Convergence
from datamodules import Digits
from tests.benchmarks.stacking import alone, assert_close, assert_same, stacked
from tests.benchmarks.suites import Interruption
from zoo.sparse import FullyConnected, NodeSearch, NodeSubnetwork


def made(seed: int = 0, **hyperparameters: Any) -> NodeSubnetwork:
    torch.manual_seed(seed)
    return NodeSubnetwork(**{"in_features": 6, "num_classes": 3, "width": 20, "sparsity": 0.7} | hyperparameters)


def samples(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, 3, generator=source), torch.randint(0, 3, (count,), generator=source)


@pytest.mark.parametrize(("sparsity", "kept"), [(0.0, 1000), (0.5, 500), (0.9, 100), (0.99, 10)])
def test_it_has_the_nodes_and_parameters_that_sparsity_leaves(sparsity: float, kept: int) -> None:
    model = NodeSubnetwork(64, 10, sparsity=sparsity)
    assert len(model.nodes.unique()) == kept
    assert sum(p.numel() for p in model.parameters()) == kept * (64 + 1 + 10) + 10


def test_a_sub_network_is_the_parent_with_the_other_nodes_at_zero() -> None:
    model, (x, _) = made().double(), samples()
    present = torch.zeros(20).index_fill_(0, model.nodes, 1.0).double()
    masked = F.relu(x.double().flatten(1) @ model.parent_in.T) * present @ model.parent_out.T
    torch.testing.assert_close(model(x.double()), masked, rtol=1e-12, atol=1e-12)


def test_without_sparsity_every_subset_is_the_parent() -> None:
    model, (x, labels) = made(sparsity=0.0).double(), samples()
    losses = model.losses(model.subsets(5), x.double(), labels)
    torch.testing.assert_close(losses, losses[:1].expand(5), rtol=1e-12, atol=0)


def test_candidates_at_once_have_the_losses_that_each_has_alone() -> None:
    model, (x, labels) = made().double(), samples()
    subsets = model.subsets(30)
    losses = model.losses(subsets, x.double(), labels)
    for nodes, loss in zip(subsets, losses, strict=True):
        model.keep(nodes)
        torch.testing.assert_close(model.step((x.double(), labels))["loss"].detach(), loss, rtol=1e-12, atol=0)


def test_candidates_are_distinct_nodes_drawn_evenly() -> None:
    """Each node is in a subset with probability k / width = .3: 1,999 draws have a deviation of .0102, and 20 nodes
    stay within 4.5 of them with a probability above .9998; drawn by the seed, this is the same at every run."""
    subsets = made().subsets(2000)[1:]
    assert (subsets.sort(1).values.diff(dim=1) > 0).all()
    shares = torch.bincount(subsets.flatten(), minlength=20) / 1999
    assert float((shares - 0.3).abs().max()) < 4.5 * 0.0102


def test_more_candidates_never_have_a_higher_loss_and_the_first_ones_are_the_same() -> None:
    x, labels = samples()
    found = []
    for candidates in (1, 10, 100):
        model = made()
        assert torch.equal(model.subsets(candidates), model.subsets(100)[:candidates])
        model.search(x, labels, candidates)
        found.append(float(model.initial_loss))
        assert model.step((x, labels))["loss"].item() == pytest.approx(found[-1], rel=1e-5)
    assert found[0] >= found[1] >= found[2]
    assert found[0] > found[2]


def test_one_candidate_is_no_search() -> None:
    one, other = made(), made()
    one.search(*samples(), 1)
    for name, tensor in one.named_parameters():
        assert torch.equal(tensor, other.get_parameter(name))


def config() -> dict[str, Any]:
    return {
        "data": {"class_path": "datamodules.Digits", "init_args": {}},
        "model": {
            "class_path": "zoo.sparse.NodeSubnetwork",
            "init_args": {"in_features": 64, "num_classes": 10, "width": 50, "sparsity": 0.8},
        },
        "callbacks": [
            {"class_path": "zoo.sparse.NodeSearch", "init_args": {"candidates": 20, "batches": None}},
            {"class_path": "benchmarks.observables.sparse.convergence.Convergence", "init_args": {}},
        ],
        "trainer": {"max_epochs": 2},
        "fit": True,
    }


def test_the_search_sees_the_training_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(NodeSubnetwork, "search", lambda _, x, *__: seen.append(x))
    data, model = Digits(), NodeSubnetwork(64, 10)

    class At:
        datamodule, world_size, global_step = data, 1, 0

    NodeSearch().on_train_start(At(), model)
    NodeSearch(batches=2).on_train_start(At(), model)
    At.global_step = 1
    NodeSearch().on_train_start(At(), model)
    assert [len(x) for x in seen] == [1085, 128]
    ours, theirs = (images.flatten(1).sort(0).values for images in (seen[0], data.load("train")[0]))
    assert torch.equal(ours, theirs)


def test_the_chosen_nodes_are_trained_and_the_choice_is_what_the_search_alone_finds(tmp_path: Path) -> None:
    outcome = train.run(config(), 3, tmp_path)
    saved = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]
    model, data = train.assemble(config(), 3)
    assert isinstance(model, NodeSubnetwork)
    images, labels = (torch.cat(parts) for parts in zip(*data.train_dataloader(), strict=True))
    model.search(images, labels, 20)
    assert torch.equal(saved["nodes"], model.nodes)
    assert outcome.metrics["test/initial_loss"] == pytest.approx(float(model.initial_loss), rel=1e-5)
    assert not torch.equal(saved["hidden.weight"], model.hidden.weight)


def test_every_seed_of_a_stack_has_the_search_and_the_training_of_a_single_one(tmp_path: Path) -> None:
    """To the rounding of 34 steps in float64; Digits take no account of the seed but in their order."""
    how = config() | {"trainer": {"max_epochs": 2, "precision": "64-true"}}
    for seed, own in zip((0, 3), stacked([0, 3], tmp_path / "both", **how), strict=True):
        assert_close(alone(seed, tmp_path / str(seed), **how), own, 1e-9)


def test_an_interruption_changes_no_bit_of_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "COST", 0)
    expected = stacked([0, 1], tmp_path / "whole", **config())
    for batch in (1, 20):
        broken = tmp_path / str(batch)
        with pytest.raises(ConnectionError):
            stacked([0, 1], broken, [Interruption(batch, "crash")], every=1e-9, **config())
        for one, other in zip(expected, stacked([0, 1], broken, **config()), strict=True):
            assert_same(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"sparsity": 1.0}, r"sparsity must lie in \[0, 1\), got 1.0"),
        ({"sparsity": 0.99}, "sparsity 0.99 leaves no node of width = 20; give it more"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
    ],
)
def test_bad_hyperparameters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**arguments)


def test_a_search_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="candidates must be at least 1, got 0"):
        NodeSearch(candidates=0)
    with pytest.raises(ValueError, match="batches must be at least 1, got 0"):
        NodeSearch(batches=0)
    assert "FullyConnected has none to choose from" in NodeSearch().refusal(FullyConnected(4, 2), Digits())
    assert NodeSearch().refusal(made(), Digits()) == ""


def test_the_mean_validation_loss_goes_on_from_a_saved_curve() -> None:
    class At:
        callback_metrics = {"val/loss": 4.0}

    logged: dict[str, float] = {}

    class Module:
        log = staticmethod(logged.__setitem__)

    before, after = Convergence(), Convergence()
    before.on_validation_end(At(), Module())  # type: ignore[arg-type]
    after.load_state_dict(before.state_dict())
    At.callback_metrics = {"val/loss": 1.0}
    after.on_validation_end(At(), Module())  # type: ignore[arg-type]
    after.on_test_epoch_end(At(), Module())  # type: ignore[arg-type]
    assert logged == {"test/mean_val_loss": 2.5}
