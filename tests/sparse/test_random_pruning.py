"""Random masks: exact numbers, no preferred place, fixed for all training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import train
from tests.sparse.methods import METHODS, Blobs, Watch, config
from zoo.differential import DeepEquilibrium
from zoo.residual import ResNet2d
from zoo.sparse import SNIP, FullyConnected, GraSP, RandomPruning
from zoo.sparse._densities import layer_densities
from zoo.sparse._masks import Masked, mask, random_each


class Masks(Watch):
    """Keeps the masks after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *rest)
        self.masks.append({name: m.clone() for name, m in Masked(pl_module).masks.items()})


def test_the_network_of_20_layers_has_268_336_weights_beside_its_shortcuts() -> None:
    """Two projections, of 16 x 32 and 32 x 64 weights, come to those of the network whose shortcuts have none."""
    masked = mask(ResNet2d(3, 10, (16, 32, 64), blocks=3))
    projections = sum(shape.numel() for name, shape in masked.shapes.items() if "shortcut" in name)
    assert projections == 16 * 32 + 32 * 64
    assert masked.size - projections == 268_336


@pytest.mark.parametrize("distribution", ["uniform", "uniform+", "er", "erk", "erk+"])
def test_every_layer_keeps_its_exact_number(distribution: str) -> None:
    masked = mask(ResNet2d(3, 10, (8, 16), blocks=2))
    RandomPruning(0.2, distribution).begin(masked)
    for name, density in layer_densities(masked.shapes, 0.2, distribution).items():
        assert int(masked.masks[name].sum()) == round(density * masked.masks[name].numel())
        assert not masked.weights[name][~masked.masks[name]].any()


def test_every_position_is_kept_equally_often() -> None:
    """Each of 60 places is kept in 2,000 draws of 15 a Binomial(2000, 1/4) number of times, of deviation 19.4: any of
    them is five deviations off with a probability of 60 x 6e-7. Two neighbours are kept together with probability
    (15 / 60)(14 / 59), of deviation 10.6, and any of 59 pairs five deviations off as rarely.
    """
    torch.manual_seed(0)
    masked = mask(FullyConnected(6, 10, (10,)))
    densities = {"layers.0.weight": 0.25, "layers.1.weight": 0.1}
    kept = torch.stack([random_each(masked, densities)["layers.0.weight"].flatten() for _ in range(2000)])
    assert (kept.sum(1) == 15).all()
    assert (kept.sum(0) - 500).abs().max() < 5 * 19.4
    together = (kept[:, 1:] & kept[:, :-1]).sum(0)
    assert (together - 2000 * (15 / 60) * (14 / 59)).abs().max() < 5 * 10.6


@pytest.mark.parametrize("distribution", ["erk", "uniform", "snip", "grasp"])
def test_the_masks_stay_for_all_training(distribution: str, tmp_path: Path) -> None:
    made = config("RandomPruning")
    made["callbacks"][0]["init_args"] = {"density": 0.3, "distribution": distribution}
    outcome = train.run(made, 0, tmp_path, callbacks=[watch := Masks()])
    assert len(watch.masks) == 18
    for masks in watch.masks:
        assert all(torch.equal(masks[name], outcome.arrays[f"mask/{name}"][0]) for name in masks)
    assert not watch.awake


@pytest.mark.parametrize(("distribution", "method"), [("snip", SNIP), ("grasp", GraSP)])
def test_ratios_are_those_of_the_method_and_places_are_not(distribution: str, method: Any) -> None:
    torch.manual_seed(0)
    data = Blobs()
    batch = data.load("train")
    counts, places = [], []
    for callback in (method(0.2), RandomPruning(0.2, distribution)):
        torch.manual_seed(1)
        model = FullyConnected(12, 3, (16, 8))
        masked = mask(model)
        callback.first(masked, model, batch)
        counts.append([int(m.sum()) for m in masked.masks.values()])
        places.append(masked.masks["layers.0.weight"].clone())
    assert counts[0] == counts[1]
    assert not torch.equal(*places)


def test_what_the_method_refuses_is_refused() -> None:
    def said(distribution: str, model: nn.Module) -> str:
        return RandomPruning(0.5, distribution).refusal(model, Blobs())

    assert "has no second derivatives" in said("grasp", DeepEquilibrium(12, 3, 4))
    for distribution in ("snip", "grasp"):
        assert "Linear has no step" in said(distribution, nn.Linear(2, 2))
        assert said(distribution, FullyConnected(12, 3, (16, 8))) == ""
    for distribution in ("erk", "snip"):
        assert said(distribution, DeepEquilibrium(12, 3, 4)) == ""


def test_seeds_draw_other_masks_and_the_same_seed_the_same(tmp_path: Path) -> None:
    made = config("RandomPruning")
    made["callbacks"][0]["init_args"] = METHODS["RandomPruning"] | {"distribution": "erk"}
    found = [
        train.run(made, seed, tmp_path / str(n)).arrays["mask/layers.0.weight"] for n, seed in enumerate((0, 0, 1))
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_density_out_of_reach_is_refused_at_planning() -> None:
    with torch.device("meta"):
        found = RandomPruning(0.01, "erk+").refusal(FullyConnected(12, 3, (16, 8)), Blobs())
    assert "density 0.01 cannot be reached: erk+ keeps layers.2.weight at 1, 0.0698 of all weights" in found
