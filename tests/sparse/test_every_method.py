"""What every method of pruning promises: exact densities, plain checkpoints, and no bit changed by an interruption."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

import zoo
from benchmarks import train
from tests.benchmarks.suites import Interruption
from tests.benchmarks.test_resume import assert_same, execute
from tests.contract.entries import Examples, entry_of
from tests.sparse.methods import METHODS, Watch, config
from zoo._registry import entries
from zoo.sparse._masks import Masked

#: A hundred steps of absolute weights are beyond all numbers: this one alone says so when it is trained.
BEYOND = ("SynFlow", "stochastic.PosteriorSDE")
ADAM = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "weight_decay": 0.1}}


def test_no_method_is_forgotten() -> None:
    known = {e.node.name for e in entries().values() if [getattr(b, "id", "") for b in e.node.bases] == ["Pruning"]}
    assert known == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", [{}, {"optimizer": ADAM}], ids=["momentum", "adam"])
def test_the_density_is_exact_and_the_dropped_stay_zero(method: str, optimizer: Any, tmp_path: Path) -> None:
    """With weight decay and moments: neither they nor the weights of dropped entries move from zero."""
    watch = Watch()
    outcome = train.run(config(method, **optimizer), 0, tmp_path, callbacks=[watch])
    saved = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    weights = {f"layers.{n}.weight": 12 * 16 if n == 0 else 16 * 8 if n == 1 else 8 * 3 for n in range(3)}
    size = sum(weights.values())
    assert not watch.awake
    masks = {name: outcome.arrays[f"mask/{name}"][0] for name in weights}
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert abs(kept - METHODS[method].get("density", 0.5) * size) <= 0.5 * len(weights), "rounded in each layer at most"
    assert outcome.metrics["test/density"] == pytest.approx(kept / size, rel=1e-6)
    for name, mask in masks.items():
        assert not saved["state_dict"][name][~mask].any()
    assert outcome.metrics["test/nonzero"] == sum(int(t.count_nonzero()) for t in saved["state_dict"].values())


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_is_that_of_a_plain_model(method: str, tmp_path: Path) -> None:
    made = config(method)
    train.run(made, 0, tmp_path)
    saved = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]
    assert saved.keys() == train.assemble(made, 0)[0].state_dict().keys()
    loaded = zoo.restore(made["model"] | {"checkpoint": str(tmp_path / "checkpoint.ckpt")})
    assert loaded(torch.zeros(2, 12)).isfinite().all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, 5, 6, 9, 10, 12, 13])
def test_an_interruption_changes_no_bit(method: str, batch: int, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    made = config(method, select={"monitor": "val/loss", "mode": "min"})
    expected = execute(made, whole)
    with pytest.raises(SIGTERMException):
        execute(made, broken, [Interruption(batch, "sigterm")])
    assert_same(execute(made, broken), expected)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_selected_is_as_sparse_as_asked(method: str, tmp_path: Path) -> None:
    """A validation before the last change of density would choose denser weights, were these not left out."""
    made = config(method, select={"monitor": "val/loss", "mode": "max"})  # the worst, which an early epoch is
    outcome = train.run(made, 0, tmp_path)
    wanted = METHODS[method].get("density", 0.5)
    assert abs(outcome.metrics["test/density"] - wanted) * 344 <= 1.5 + 1e-4, "half a weight in each of three layers"


@pytest.mark.parametrize("batch", [None, 10])
def test_two_methods_on_different_layers_leave_each_other_alone(batch: int | None, tmp_path: Path) -> None:
    """192 and 128 weights, whose own numbers are kept, also where the training was interrupted."""
    nodes = [
        {"class_path": "zoo.sparse.Magnitude", "init_args": {"density": 0.1, "layers": ["layers.0"]}},
        {"class_path": "zoo.sparse.RigL", "init_args": {"density": 0.5, "every": 4, "layers": ["layers.1"]}},
    ]
    made = config("Magnitude", callbacks=nodes)
    if batch:
        with pytest.raises(SIGTERMException):
            execute(made, tmp_path, [Interruption(batch, "sigterm")])
    outcome, saved, _ = execute(made, tmp_path)
    kept = {name: int(array.sum()) for name, array in outcome.arrays.items() if name.startswith("mask/")}
    assert kept == {"mask/layers.0.weight": 19, "mask/layers.1.weight": 64}
    assert outcome.metrics["test/density"] == pytest.approx((19 + 64) / (192 + 128), rel=1e-6)
    assert int(saved["layers.0.weight"].count_nonzero()) == 19


def test_averages_of_weights_are_refused(tmp_path: Path) -> None:
    average = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging"}
    with pytest.raises(ValueError, match="EMAWeightAveraging cannot go with Magnitude"):
        train.run(config("Magnitude", callbacks=[*config("Magnitude")["callbacks"], average]), 0, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_a_masked_model_pickles(method: str, tmp_path: Path) -> None:
    found = []

    class Pickle(Watch):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 10:
                module, pl_module._trainer = pl_module._trainer, None
                copied = pickle.loads(pickle.dumps(pl_module))  # noqa: S301  # our own
                pl_module._trainer = module
                found.append((pl_module(batch[0]).detach(), copied(batch[0]).detach(), Masked(copied).density))

    train.run(config(method), 0, tmp_path, callbacks=[watch := Watch(), Pickle()])
    ((ours, theirs, density),) = found
    assert torch.equal(ours, theirs)
    assert density == watch.densities[9]


@pytest.mark.parametrize("model", zoo.list_models())
@pytest.mark.parametrize("method", METHODS)
def test_it_prunes_every_model_of_the_zoo_or_says_why_not(
    model: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_of(model)
    if not entry.config["fit"]:
        pytest.skip("nothing is trained")
    node = {"class_path": f"zoo.sparse.{method}", "init_args": METHODS[method]}
    made = entry.tiny | {"trainer": {"max_steps": 6}, "callbacks": [node]}
    made.pop("select", None)
    callback = train.build(node)
    with torch.device("meta"):
        refused = callback.refusal(train.build(made["model"]), Examples(entry.spec))
    if refused:
        reasons = ("has no weights to mask", "has stages", "has no optimiser", "ones are an input of float tensors")
        assert any(text in refused for text in (*reasons, "has no second derivatives"))
        return
    assembled = train.assemble(made, 0)[0]
    plain = assembled.state_dict().keys()
    monkeypatch.setattr(train, "assemble", lambda *_: (assembled, Examples(entry.spec, whole=entry.whole)))
    try:
        outcome = train.run(made, 0, tmp_path)
    except ValueError as error:
        if (method, model) == BEYOND and "prune by another method" in str(error):
            return
        raise
    sizes = {k: v.numel() for k, v in outcome.arrays.items() if k.startswith("mask/")}
    assert sizes
    density = METHODS[method].get("density", 0.5)
    assert abs(outcome.metrics["test/density"] - density) * sum(sizes.values()) <= 0.5 * len(sizes) + 1e-3
    assert torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"].keys() == plain
