"""How large a residual network's weights are, and how much they change from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.residual import layers

NORMS = ("frobenius", "spectral")


class DepthScaling(pl.Callback):
    """Measures a trained model's weights along its layers, whose powers of the depth tell which limit it has.

    A model names the sequences W_1 … W_L in its method `along_depth`. Of each NAME are logged

        test/NAME_max           max_k ||W_k||
        test/NAME_increment     max_k ||W_{k+1} - W_k||
        test/NAME_root_sum      sqrt(sum_k ||W_k||^2)
        test/NAME_sum           ||sum_k W_k||
        test/NAME_roughness     increment / max, which falls as 1 / L where W_k is a smooth function of k / L
        test/NAME_spread        root_sum / max, which grows as sqrt(L) where all layers take part

    and recorded `NAME_norms` (L,), `NAME_increments` and `NAME_entry`, the first entry of each W_k. The norm is that of
    Frobenius, or "spectral", the largest singular value: of a kernel, that of the convolution on periodic maps of the
    size that it reads. Increments are those between neighbours of one shape; a sum needs one shape of all. What there
    are no increments for, or no W_k other than 0, is not logged.

    Raises ValueError for another norm. A model without such sequences is refused before anything starts.

    Source: Cohen, Cont, Rossier and Xu, "Scaling properties of deep residual networks", ICML 2021, arXiv:2105.12245;
    the authors' code has the Frobenius norm of matrices and the spectral one of convolutions.
    """

    per_replica = True

    def __init__(self, norm: str = "frobenius") -> None:
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(map(repr, NORMS))}, got {norm!r}")
        self.norm = norm

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model cannot be measured; nothing where it can."""
        return layers.refusal(model)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        sizes = self._map_sizes(trainer, pl_module)
        for name, weights in pl_module.along_depth().items():
            norm = layers.frobenius if self.norm == "frobenius" else layers.spectral(weights, sizes)
            scalars, norms, steps = measured(weights, norm)
            for what, value in scalars.items():
                pl_module.log(f"test/{name}_{what}", value)
            pl_module.record(f"{name}_norms", norms)
            pl_module.record(f"{name}_increments", steps)
            pl_module.record(f"{name}_entry", torch.stack([w.flatten()[0] for w in weights]))

    def _map_sizes(self, trainer: Any, model: Any) -> dict[Tensor, tuple[int, int]]:
        if self.norm == "frobenius":
            return {}
        batch = trainer.datamodule.spec.example(2, "cpu")
        return layers.map_sizes(model, [x.to(model.device) for x in model.inputs(batch)])


def measured(
    weights: Sequence[Tensor], norm: layers.Norm = layers.frobenius
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What DepthScaling logs of a sequence, by the end of its name, and the norms and increments that it is made of."""
    norms, steps = torch.stack([norm(w, k) for k, w in enumerate(weights)]), layers.increments(weights, norm)
    most, root_sum = norms.max(), norms.norm()
    found = {"max": most, "root_sum": root_sum}
    if len({w.shape for w in weights}) == 1:
        found["sum"] = norm(torch.stack(list(weights)).sum(0), 0)
    if len(steps):
        found["increment"] = steps.max()
    if most > 0:
        found["spread"] = root_sum / most
        found |= {"roughness": found["increment"] / most} if len(steps) else {}
    return found, norms, steps
