"""Masks: exact numbers of entries, gradients that reach what is dropped, and nothing that wakes it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from datamodules import Digits
from zoo.sparse import SNIP, FullyConnected, Magnitude, RigL
from zoo.sparse._masks import Mask, Masked, largest, largest_each, mask, random_each, rewired


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def half(model: nn.Module) -> Masked:
    """Masks of random halves, put on a model."""
    masked = mask(model)
    masked.set(random_each(masked, dict.fromkeys(masked.masks, 0.5)))
    return masked


@pytest.mark.parametrize("count", [0, 1, 7, 11, 12])
def test_of_equal_scores_exactly_as_many_are_chosen(count: int) -> None:
    scores = {"a": torch.zeros(2, 4), "b": torch.zeros(4)}
    assert sum(int(chosen.sum()) for chosen in largest(scores, count).values()) == count


def test_the_largest_of_all_tensors_are_chosen() -> None:
    torch.manual_seed(0)
    scores = {"a": torch.randn(7, 5), "b": 3 * torch.randn(2, 3, 4)}
    chosen = largest(scores, 20)
    kept = torch.cat([scores[name][chosen[name]] for name in scores])
    dropped = torch.cat([scores[name][~chosen[name]] for name in scores])
    assert len(kept) == 20
    assert kept.min() > dropped.max()
    assert all(chosen[name].shape == scores[name].shape for name in scores)


def test_each_tensor_has_its_own_number() -> None:
    chosen = largest_each({"a": torch.rand(3, 5), "b": torch.rand(2, 2)}, {"a": 0.3, "b": 0.5})
    assert {name: int(own.sum()) for name, own in chosen.items()} == {"a": 4, "b": 2}  # round(4.5) is 4


def test_a_masked_function_and_a_dense_one_have_equal_values() -> None:
    masked, x = half(model := network()), torch.randn(4, 6, dtype=torch.float64)
    plain = model(x)
    for module in masked.modules.values():
        module.dense = True
    assert torch.equal(model(x), plain)


def test_dense_gradients_are_those_of_the_unmasked_function_at_the_masked_weights() -> None:
    masked, x = half(model := network()), torch.randn(4, 6, dtype=torch.float64)
    plain = network()
    with torch.no_grad():
        for name, weight in masked.weights.items():
            plain.get_parameter(name).copy_(weight * masked.masks[name])
    plain(x).square().sum().backward()
    found = {}
    for dense in (True, False):
        for module in masked.modules.values():
            module.dense = dense
        model.zero_grad()
        model(x).square().sum().backward()
        found[dense] = {name: weight.grad.clone() for name, weight in masked.weights.items() if weight.grad is not None}
    for name, kept in masked.masks.items():
        expected = plain.get_parameter(name).grad
        assert expected is not None
        # equal operations on equal numbers, but for the order of sums within a product of matrices
        torch.testing.assert_close(found[True][name], expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found[False][name], expected * kept, rtol=1e-12, atol=1e-14)
        assert found[True][name][~kept].abs().max() > 0


def test_moments_are_zeroed_where_a_mask_changed_and_nowhere_else() -> None:
    masked, x = half(model := network()), torch.randn(4, 6, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    name, weight = next(iter(masked.weights.items()))
    assert weight.grad is not None
    old, kept = masked.masks[name].clone(), weight.detach().clone()
    before = {key: value.clone() for key, value in optimizer.state[weight].items()}
    gradient = weight.grad.clone()
    new = old.clone()
    gone, come = old.nonzero()[0], (~old).nonzero()[0]
    new[tuple(gone)], new[tuple(come)] = False, True
    masked.set({name: new}, [optimizer])
    changed = old != new
    assert int(changed.sum()) == 2
    for key in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(optimizer.state[weight][key], before[key] * ~changed)
    assert optimizer.state[weight]["step"] == before["step"] == 3
    assert torch.equal(weight, kept * ~changed)
    assert torch.equal(weight.grad, gradient * new)


def test_copies_have_masks_of_their_own() -> None:
    masked, x = half(model := network()), torch.randn(4, 6, dtype=torch.float64)
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301  # our own
        assert torch.equal(other(x), expected)
        theirs = Masked(other)
        assert theirs.density == masked.density
        theirs.set({name: torch.zeros_like(own) for name, own in theirs.masks.items()})
        assert theirs.density == 0
        assert torch.equal(model(x), expected)


def test_what_is_merged_is_a_plain_model() -> None:
    masked, x = half(model := network()), torch.randn(4, 6, dtype=torch.float64)
    expected, names = model(x), network().state_dict().keys()
    masks = masked.merge()
    assert torch.equal(model(x), expected)
    assert model.state_dict().keys() == names
    assert type(model[0]) is nn.Linear
    for name, own in masks.items():
        assert torch.equal(model.get_parameter(name) != 0, own)
    assert Masked(model).masks == {}


def test_layers_are_chosen_by_globs_on_weights_or_layers() -> None:
    assert list(mask(network(), ["0"]).masks) == list(mask(network(), ["0.*"]).masks) == ["0.weight"]
    assert list(mask(network(), ["*.weight"]).masks) == ["0.weight", "2.weight"]


def test_norms_vectors_frozen_and_shared_weights_are_never_masked() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm((2, 4)), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    model[3].weight.requires_grad_(False)
    assert list(mask(model).masks) == ["4.weight"]


def test_a_layer_that_does_not_exist_is_named_with_the_ones_there_are() -> None:
    model = nn.ModuleDict({"hidden": nn.Linear(4, 4), "output": nn.Linear(4, 2)})
    with pytest.raises(ValueError, match=r"(?s)layer 'hiden'.*hidden"):
        mask(model, ["hiden"])


def test_a_weight_takes_one_method() -> None:
    model = network()
    mask(model, ["0"])
    with pytest.raises(ValueError, match=r"0.weight is parametrised already, by Mask: one method takes a weight"):
        mask(model)
    assert [type(own) for own in Masked(model).modules.values()] == [Mask]
    mask(model, ["2"])


def rewiring(share: float, growth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    weight = torch.randn(8, 10)
    old = largest({"": torch.rand(8, 10)}, 20)[""]
    return weight * old, old, rewired(weight * old, old, share, growth)


def test_connections_that_move_are_the_smallest_and_go_where_growth_is_highest() -> None:
    growth = torch.rand(8, 10)
    weight, old, new = rewiring(0.25, growth)
    ranked = weight[old].abs().sort().values
    kept = weight.abs() >= ranked[5]  # int(0.25 * 20) move
    assert int(kept.sum()) == 15
    assert int(new.sum()) == 20
    assert not (kept & ~new).any()
    assert growth[new & ~kept].min() > growth[~new].max()


def test_a_dropped_connection_may_grow_again() -> None:
    weight, old, new = rewiring(0.25, torch.rand(8, 10) + 2 * (rewiring(0, torch.zeros(8, 10))[1]))
    assert torch.equal(new, old)
    assert not torch.equal(weight, torch.zeros_like(weight))


def test_no_layers_and_no_weights_are_refused() -> None:
    model, data = FullyConnected(12, 3, (16, 8)), Digits()  # 344 weights
    assert "layers must name at least one weight or layer, got none" in Magnitude(0.5, layers=[]).refusal(model, data)
    assert "density 0.001 leaves none of the 344 weights: take 0.0029 or more" in SNIP(0.001).refusal(model, data)
    assert Magnitude(0.5, layers="layers.0").layers == ("layers.0",)
    with pytest.raises(ValueError, match="density must be a number, got None"):
        RigL(density=None)
    with pytest.raises(ValueError, match="widths must be a number, got 'a'"):
        FullyConnected(4, 3, ("a", 4))
    with pytest.raises(ValueError, match="density must be a number, got True"):
        RigL(density=True)


def test_random_masks_are_exact_and_uniform() -> None:
    """Of 2,000 entries 300 are there; by halves the number is hypergeometric, of standard deviation 8."""
    masked = mask(nn.Linear(50, 40))
    torch.manual_seed(0)
    draws = [random_each(masked, {"weight": 0.15})["weight"] for _ in range(50)]
    assert {int(draw.sum()) for draw in draws} == {300}
    halves = torch.tensor([int(draw[:20].sum()) for draw in draws], dtype=torch.float64)
    deviation = (300 * 0.25 * (2000 - 300) / (2000 - 1)) ** 0.5
    assert abs(float(halves.mean()) - 150) < 5 * deviation / 50**0.5
    assert (halves - 150).abs().max() < 6 * deviation
    assert len({draw.numpy().tobytes() for draw in draws}) == 50
