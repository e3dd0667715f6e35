"""What every model of the zoo promises, checked for each of them alike."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

import zoo
from benchmarks import train
from benchmarks.build import build
from datamodules._times import Times
from tests.contract.entries import Entry, Examples, entry_of
from zoo._module import ZooModule
from zoo._replicas import Replicas
from zoo._stackable import refusal

MODELS = zoo.list_models()
CHECKS = {"gradients", "export", "pickle", "meta", "masks", "second derivatives"}
FEW = 8  # times of a series
PRIMITIVES = (bool, int, float, str, type(None))


@pytest.fixture(params=MODELS)
def entry(request: pytest.FixtureRequest) -> Entry:
    return entry_of(request.param)


def made(entry: Entry, seed: int = 0) -> ZooModule:
    torch.manual_seed(seed)
    model: ZooModule = build(entry.tiny["model"])
    return model


def batch_of(entry: Entry, size: int = 4) -> Any:
    """A batch; series at times of their own, which may be any number, have few of them."""
    fields, batch = entry.spec.batch, entry.spec.example(size, "cpu")
    lengths = {field.shape[0] for field in fields if isinstance(field, Times)}
    return tuple(x[:, :FEW] if f.shape and f.shape[0] in lengths else x for f, x in zip(fields, batch, strict=True))


def excused(entry: Entry, check: str) -> None:
    """Skips a check that the model declares as not applicable, with its reason."""
    if reason := entry.model_class.exceptions.get(check):
        pytest.skip(reason)


class Gradients(pl.Callback):
    """Notes every parameter's gradient before each optimiser step."""

    def __init__(self) -> None:
        self.seen: dict[str, bool] = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
                self.seen[name] = self.seen.get(name, False) or bool(parameter.grad.any())


def fitted(entry: Entry, folder: Path, monkeypatch: pytest.MonkeyPatch, callback: Any = None) -> train.Outcome:
    """Three training steps and a test on random batches of the data's shapes."""
    kept = {key: value for key, value in entry.tiny.items() if key != "select"}  # by what a callback may have measured
    config = kept | {"trainer": {"max_steps": 3}, "callbacks": []}
    model, _ = train.assemble(config, 0)
    monkeypatch.setattr(train, "assemble", lambda *_: (model, Examples(entry.spec, whole=entry.whole)))
    return train.run(config, 0, folder, callbacks=[callback] if callback else [])


def test_the_docstring_says_what_it_is(entry: Entry) -> None:
    doc = entry.model_class.__doc__ or ""
    assert len(doc) > 200, "the equation, the shapes and what is refused belong in the docstring"
    assert "Source:" in doc


def test_forward_keeps_the_batch_and_is_finite(entry: Entry) -> None:
    model = made(entry).eval()
    for size in (2, 5):
        output = model(*model.inputs(batch_of(entry, size)))
        assert len(output) == size
        assert output.isfinite().all()


def test_three_steps_reach_every_parameter_with_a_finite_loss(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    excused(entry, "gradients")
    if not entry.config["fit"]:
        pytest.skip("this benchmark fits nothing")
    gradients = Gradients()
    outcome = fitted(entry, tmp_path, monkeypatch, gradients)
    assert all(map(math.isfinite, outcome.metrics.values()))
    untouched = {name for name, reached in gradients.seen.items() if not reached}
    unseen = {name for name, p in made(entry).named_parameters() if p.requires_grad} - set(gradients.seen)
    assert not untouched | unseen


def test_a_checkpoint_holds_all_that_prediction_needs(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(entry, tmp_path, monkeypatch)
    path = tmp_path / "checkpoint.ckpt"
    saved = torch.load(path, map_location="cpu", weights_only=True)
    loaded = entry.model_class.load_from_checkpoint(path, weights_only=True).eval()
    again = zoo.restore(entry.tiny["model"] | {"checkpoint": str(path)})
    inputs = loaded.inputs(batch_of(entry))
    assert torch.equal(loaded(*inputs), again(*inputs))
    assert saved["state_dict"].keys() == made(entry).state_dict().keys()
    changed = [n for n, p in made(entry).named_parameters() if not torch.equal(p, saved["state_dict"][n])]
    assert changed or not entry.config["fit"] or "gradients" in entry.model_class.exceptions


def test_the_seed_determines_the_initial_weights(entry: Entry) -> None:
    one, same, other = (made(entry, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    floating = [name for name in one if one[name].is_floating_point()]
    drawn = [name for name in floating if one[name].numel() > 1 and one[name].unique().numel() > 1]
    if not drawn and "gradients" in entry.model_class.exceptions:
        pytest.skip("it starts from constants: a closed form before it is solved, or zero weights")
    assert not floating or any(not torch.equal(one[name], other[name]) for name in drawn)


def test_hyperparameters_are_primitives(entry: Entry) -> None:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(isinstance(k, str) and plain(v) for k, v in value.items())
        return all(map(plain, value)) if isinstance(value, list | tuple) else isinstance(value, PRIMITIVES)

    hyperparameters = dict(made(entry).hparams)
    assert plain(hyperparameters)
    assert hyperparameters.keys() == zoo.info(entry.model_class.__name__)["hyperparameters"].keys()


def test_it_pickles(entry: Entry) -> None:
    excused(entry, "pickle")
    model = made(entry).eval()
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301
    inputs = model.inputs(batch_of(entry))
    assert torch.equal(model(*inputs), copy(*inputs))


def test_it_exports_for_any_batch_size(entry: Entry) -> None:
    excused(entry, "export")
    model = made(entry).eval()
    dynamic = tuple({0: torch.export.Dim("batch")} for _ in model.inputs(batch_of(entry)))
    exported = torch.export.export(model, model.inputs(batch_of(entry)), dynamic_shapes=dynamic).module()
    inputs = model.inputs(batch_of(entry, 7))
    torch.testing.assert_close(exported(*inputs), model(*inputs))


def test_what_vectorizes_can_be_stacked_and_says_so_for_good_reason(entry: Entry) -> None:
    if not entry.model_class.vectorizes:
        pytest.skip("trained one by one")
    assert refusal(made(entry), batch_of(entry)) == ""
    assert set(entry.model_class.initial) <= dict(made(entry).hparams).keys()
    models = [made(entry, seed).double() for seed in range(3)]
    batches = [tuple(t.double() if t.is_floating_point() else t for t in batch_of(entry)) for _ in models]
    together = Replicas([made(entry, seed).double() for seed in range(3)])
    together.scalars(tuple(map(torch.stack, zip(*batches, strict=True))))["loss"].sum().backward()
    for number, (model, batch) in enumerate(zip(models, batches, strict=True)):
        model.step(batch)["loss"].backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            gradient = together.stack.get_parameter(name).grad
            assert gradient is not None
            torch.testing.assert_close(gradient[number], parameter.grad, rtol=1e-10, atol=1e-10)


def test_exceptions_name_a_check_and_a_reason(entry: Entry) -> None:
    for check, reason in entry.model_class.exceptions.items():
        assert check in CHECKS
        assert len(reason.split()) >= 3
