"""Text as windows of symbols: a source of known entropy, and files as bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules import DataMissing, MarkovText, Text


def chances(data: MarkovText) -> torch.Tensor:
    """P(symbol | context) of every context, (V^k, V)."""
    table = torch.zeros(data.contexts, data.symbols, dtype=torch.float64)
    return table.scatter_(1, data.successors, torch.tensor(data.CHANCES, dtype=torch.float64).expand(data.contexts, -1))


def surprise(data: MarkovText, order: int) -> torch.Tensor:
    """-log P of every symbol of a text after its own context, in nats."""
    text = data.text()
    context = sum(text[lag : len(text) - order + lag] * data.symbols ** (order - 1 - lag) for lag in range(order))
    return -chances(data)[context, text[order:]].log()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_true_source_has_the_stated_entropy(order: int) -> None:
    """Every symbol is a successor of its context, and the mean surprise is the entropy to four standard errors."""
    data = MarkovText(alphabet=6, order=order, size=50_000, seed=order)
    found = surprise(data, order)
    assert found.isfinite().all()
    spread = float(found.std()) / math.sqrt(len(found))
    assert data.entropy == pytest.approx(1.75 * math.log(2), rel=1e-12)
    assert float(found.mean()) == pytest.approx(data.entropy, abs=4 * spread)


def test_successors_of_a_context_differ() -> None:
    successors = MarkovText(alphabet=5, order=2).successors
    assert successors.shape == (25, 4)
    assert all(len(set(row)) == 4 for row in successors.tolist())


def test_windows_are_the_text_in_order_and_targets_are_what_follows() -> None:
    data = MarkovText(alphabet=6, size=1003, context=7)
    text, start = data.text(), 0
    for split, symbols in (("train", 802), ("val", 100), ("test", 101)):
        tokens, targets = data.load(split)
        count = (symbols - 1) // 7
        assert len(tokens) == data.spec.sizes[split] == count
        assert torch.equal(tokens.flatten(), text[start : start + 7 * count])
        assert torch.equal(targets.flatten(), text[start + 1 : start + 1 + 7 * count])
        start += symbols


def test_the_source_and_its_text_belong_to_the_seed() -> None:
    one, same, other = (MarkovText(size=2000, context=8, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.text(), same.text())
    assert not torch.equal(one.successors, other.successors)


def test_a_file_is_read_as_bytes_from_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    (tmp_path / "books").mkdir()
    content = "Größe und Maß. ".encode() * 20
    (tmp_path / "books" / "one.txt").write_bytes(content)
    data = Text("books/one.txt", context=4)
    tokens, targets = data.load("train")
    assert bytes(tokens.flatten().tolist()) == content[: tokens.numel()]
    assert bytes(targets[0].tolist()) == content[1:5]
    assert data.spec.arguments == {"vocab_size": 256, "context": 4}
    assert torch.equal(Text(str(tmp_path / "books" / "one.txt"), context=4).load("train")[0], tokens)
    (tmp_path / "books" / "one.txt").write_bytes(content.upper())
    assert Text("books/one.txt", context=4).spec.version != data.spec.version


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    with pytest.raises(DataMissing, match=r"no file nowhere\.txt in .*ZOO_DATA_DIR.*MarkovText, which needs no file"):
        Text("nowhere.txt").prepare_data()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alphabet": 3}, "alphabet must have at least 4 symbols, got 3"),
        ({"order": 0}, "order must be at least 1, got 0"),
        ({"alphabet": 200, "order": 3}, r"order must leave at most 2\^20 contexts, got 200\^3"),
        ({"context": 0}, "context must be at least 1, got 0"),
        ({"size": 640}, "context must be less than a tenth of the text, got 64 for 640 symbols"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_sources_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarkovText(**arguments)


def test_a_file_without_a_window_in_each_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(ValueError, match="context must be less than a tenth of the text, got 64 for 5 symbols"):
        _ = Text(str(tmp_path / "short.txt")).spec
