"""A transformer that looks back alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.sparse import CausalTransformer


def made(**hyperparameters: Any) -> CausalTransformer:
    """A small one in double precision, with a head that is not zero."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 7, "context": 12, "width": 8, "hidden": 10, "depth": 2, "heads": 2}
    model: CausalTransformer = CausalTransformer(**sizes | hyperparameters).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def tokens(count: int = 3, length: int = 12) -> Tensor:
    return torch.randint(7, (count, length), generator=torch.Generator().manual_seed(1))


def test_the_loss_at_the_start_is_that_of_chance() -> None:
    model = CausalTransformer(vocab_size=7, context=12)
    assert float(model.step((tokens(), tokens().flip(1)))["loss"].detach()) == pytest.approx(math.log(7), rel=1e-6)


@pytest.mark.parametrize("changed", [0, 5, 11])
def test_a_token_changes_nothing_before_it_and_something_from_it_on(changed: int) -> None:
    model, before = made().requires_grad_(False), tokens()
    after = before.clone()
    after[:, changed] = (after[:, changed] + 1) % 7
    difference = (model(after) - model(before)).abs().amax((0, 2))
    assert float(difference[:changed].sum()) == 0.0
    assert (difference[changed:] > 1e-6).all()


def test_a_shorter_text_has_the_logits_of_its_place_in_a_longer_one() -> None:
    model = made()
    torch.testing.assert_close(model(tokens()[:, :5]), model(tokens())[:, :5], rtol=1e-12, atol=1e-12)


def test_turned_products_depend_on_distances_alone() -> None:
    """The same query and key at all places: products at (i, j) are constant along diagonals, and keep lengths."""
    attention = made().get_submodule("blocks.0.attention")
    query, key = torch.randn(2, 1, 1, 1, 4).double().expand(2, 1, 2, 12, 4)
    products = (attention._turned(query) @ attention._turned(key).transpose(2, 3))[0, 0]
    for distance in range(12):
        diagonal = products.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-6)  # float32 angles
    torch.testing.assert_close(attention._turned(query).norm(dim=3), query.norm(dim=3), rtol=1e-6, atol=0)


def test_attention_is_the_weighted_mean_that_its_definition_says() -> None:
    """Computed place by place for each head, with complex numbers as rotations."""
    attention = made(heads=2).get_submodule("blocks.1.attention")
    h = torch.randn(2, 6, 8).double()
    q, k, v = ((h @ layer.weight.T).unflatten(2, (2, 4)) for layer in (attention.query, attention.key, attention.value))
    turn = torch.exp(1j * torch.outer(torch.arange(6.0), torch.tensor([1.0, 0.01])).double())
    out = torch.zeros(2, 6, 2, 4).double()
    for head in range(2):
        zq, zk = (torch.complex(t[:, :, head, :2], t[:, :, head, 2:]) * turn for t in (q, k))
        for place in range(6):
            scores = (zq[:, place, None] * zk[:, : place + 1].conj()).real.sum(2) / 2  # sqrt of 4 features
            out[:, place, head] = (scores.softmax(1)[..., None] * v[:, : place + 1, head]).sum(1)
    expected = out.flatten(2) @ attention.out.weight.T
    torch.testing.assert_close(attention(h), expected, rtol=1e-6, atol=1e-6)  # float32 angles


def test_parameters_are_those_of_the_layers() -> None:
    model = CausalTransformer(vocab_size=24, context=32, width=64, hidden=176, depth=3)
    block = 4 * 64**2 + 3 * 64 * 176 + 2 * 64
    assert sum(p.numel() for p in model.parameters()) == 2 * 24 * 64 + 3 * block + 64


def test_matrices_alone_decay() -> None:
    """With a gradient of zero, AdamW's step is the decay."""
    model = CausalTransformer(vocab_size=7, context=4, width=8, lr=0.1, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.configure_optimizers().step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"width": 10, "heads": 4}, "width must be a multiple of 2 heads = 8, for pairs of features, got 10"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, got -0.1"),
    ],
)
def test_bad_hyperparameters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**arguments)
