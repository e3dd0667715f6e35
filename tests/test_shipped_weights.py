"""Every shipped weight file: its card, its hash, and its metrics computed again."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch

import zoo
from benchmarks import cards, documents, publish
from datamodules import DataMissing
from tests.test_weights import hub_entries
from zoo import _weights
from zoo._preprocessing import arguments, log_volume, preprocess
from zoo._weights import inputs_of

SHIPPED = zoo.list_weights()
#: What every card says.
KEYS = {
    *("name", "title", "summary", "class_path", "init_args", "data", "benchmark", "label", "config", "input"),
    *("classes", "metrics", "recomputed", "seed", "seeds", "run_id", "commit", "device", "threads", "versions"),
    *("started", "date", "params", "bytes", "sha256", "licence", "citation"),
}


def test_the_hub_lists_what_is_shipped() -> None:
    assert hub_entries() == sorted(name.replace(".", "_") for name in SHIPPED)


def test_shipped_weights_are_small_and_each_has_its_card() -> None:
    files = [path for path in _weights.FOLDER.iterdir() if path.suffix in (".json", ".safetensors")]
    assert sum(path.stat().st_size for path in files) < 32 * 2**20
    assert sorted(path.name for path in files) == sorted(f"{n}{s}" for n in SHIPPED for s in (".json", ".safetensors"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_is_complete(name: str) -> None:
    card, file = zoo.info(name), _weights.FOLDER / f"{name}.safetensors"
    assert card.keys() == KEYS
    assert all(card[key] or key in ("classes", "seed") for key in KEYS)
    assert card["name"] == name
    assert name.startswith(card["class_path"].rpartition(".")[2].lower() + ".")
    assert card["class_path"] == zoo.info(card["class_path"])["class_path"]
    assert (card["bytes"], card["sha256"]) == (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
    assert card["params"] == sum(p.numel() for p in zoo.load(name).parameters())
    assert card["benchmark"] in documents.benchmark_files()
    assert card["licence"]["weights"] == "Apache-2.0"
    assert card["citation"].startswith("@")
    assert card["seed"] in card["seeds"]
    assert set(card["recomputed"]) <= card["metrics"].keys()
    for metric in card["metrics"].values():
        assert metric["n"] == len(card["seeds"]) >= 3
        assert metric["interval"][0] <= metric["mean"] <= metric["interval"][1]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_score_what_their_card_says_from_raw_input(name: str) -> None:
    model, card = zoo.load(name), zoo.info(name)
    try:
        data: Any = cards.data_of(card["config"])
    except DataMissing as error:
        pytest.skip(str(error))
    found = publish.recomputed(model, data, card["config"])
    told = {metric: card["metrics"][metric]["value"] for metric in card["recomputed"]}
    assert found == pytest.approx(told, rel=publish.TOLERANCE)
    batch = model.inputs(next(iter(data.test_dataloader())))
    raw = [x[: len(batch[0])] for x in cards.raw_of(model, data)]
    prepared = [preprocess(x, told["preprocessing"]) for x, told in zip(raw, inputs_of(card), strict=True)]
    made = list(model.complete(dict(zip(arguments(model), prepared, strict=True))).values())
    for x, one, ready, told in zip(raw, batch, made, inputs_of(card), strict=True):
        assert (list(x.shape[1:]), str(x.dtype)) == (told["raw_shape"], f"torch.{told['raw_dtype']}")
        # Standardised series lie in their files to the rounding of float32; raw paths of the attractor, up to 60, are
        # computed back from normalised ones: to 4e-6, which is 3e-7 of their deviations.
        exact = card["data"]["class_path"] != "datamodules.LorenzPaths"
        exact &= not any(step == "standardise" for step, _ in told["preprocessing"])
        torch.testing.assert_close(ready, one, rtol=0, atol=0 if exact else 1e-6)
    assert torch.equal(model.predict(*(x.numpy() for x in raw)), model.predict(*raw))
    with torch.no_grad():
        expected = model.cpu().eval()(*made) + (log_volume(card["input"]) if model.is_density else 0)
    assert torch.equal(model.predict(*raw), expected)
