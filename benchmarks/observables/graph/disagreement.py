"""Whether an ensemble knows from its disagreement which inputs are unlike those of its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from benchmarks.observables.graph.generalisation import DENSE, NetworkTest, inputs
from benchmarks.store import Result

DRAWN = 5  # networks of the ensemble whose variance is taken
LEVEL = 0.05  # share of training inputs that are to be refused


class NodePredictions(NetworkTest):
    """Records the predicted rate of one random node for each of many states, the same for all seeds of an ensemble.

    `prediction_train`, `prediction_shift_S` and `prediction_dense`, (N,) each: on training states before they are drawn
    from again, on test states with S added, and on a graph with 0.6 of all edges. The data need a `bootstrap`.
    """

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why this is no ensemble on one data set; nothing where it is."""
        bare = getattr(data, "bootstrap", None) is None
        return super().refusal(model, data) or ("the seeds share no data: give the data a bootstrap" if bare else "")

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        draw = torch.Generator().manual_seed(data.graph_seed)
        for name, x, edges in inputs(data):
            nodes = torch.randint(data.nodes, (len(x), 1), generator=draw).to(pl_module.device)
            predicted = pl_module(x.to(pl_module.device), edges.to(pl_module.device).expand(len(x), -1, -1))
            pl_module.record(f"prediction_{name}", predicted.gather(1, nodes)[:, 0])


def disagreement(predictions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """d (N,) of the predictions (K, N) of K networks: the unbiased variance over 5, drawn for each input."""
    networks = generator.random(predictions.shape).argsort(0)[:DRAWN]
    found: np.ndarray = np.take_along_axis(predictions, networks, 0).var(0, ddof=1)
    return found


def accepted(d: np.ndarray, null: np.ndarray) -> float:
    """The share of inputs whose p-value, the share of the null sample that is at least d, is 0.05 or more."""
    p = (null >= d[:, None]).mean(1)
    return float((p >= LEVEL).mean())


def statistics(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Rows of metrics over the seeds of each model, which are one ensemble:

        ensemble/accepted_S       share of test states with S added that are accepted as alike those of training
        ensemble/accepted_dense   that on a dense graph, d times (mean degree in training / mean degree)^2
        ensemble/least_fall       the least difference of that from one shift to the next: it is not negative where the
                                  share falls throughout

    The null sample is d of the training states. An ensemble needs five networks.
    """
    rows = []
    for model in dict.fromkeys(result.model for result in results):
        runs = [result for result in results if result.model == model]
        if d := measured(runs):
            row = {"model": model, "point": dict(runs[0].point), "metrics": _shares(d), "n": len(runs)}
            rows.append(row)
    return rows


def measured(runs: Sequence[Result]) -> dict[str, np.ndarray]:
    """d of each set of inputs, "train" first; nothing for fewer networks than are drawn, or without predictions."""
    arrays = [run.arrays() for run in runs]
    if len(runs) < DRAWN or not all("prediction_train" in each for each in arrays):
        return {}
    draw, found = np.random.default_rng(0), {}
    for name in (name for name in arrays[0] if name.startswith("prediction_")):
        predictions = np.stack([each[name][-1] for each in arrays]).astype(np.float64)
        found[name.removeprefix("prediction_")] = disagreement(predictions, draw)
    settings = runs[0].config()["data"]["init_args"]
    found["dense"] *= (settings["mean_degree"] / (DENSE * (settings["nodes"] - 1))) ** 2
    return found


def _shares(d: dict[str, np.ndarray]) -> dict[str, float]:
    shares = {name.removeprefix("shift_"): accepted(of, d["train"]) for name, of in d.items() if name != "train"}
    falls = -np.diff([share for name, share in shares.items() if name != "dense"])
    return {f"ensemble/accepted_{name}": share for name, share in shares.items()} | {
        "ensemble/least_fall": float(falls.min())
    }
