"""What an ensemble of dynamics networks does as a whole, beside the dense one of the same data and layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.store import Result
from datamodules import Electrolysis

COMPARED = ("an_rfmse_100", "blow_ups_2500", "blow_ups_5000")


def statistics(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Rows of metrics over the seeds of each model at each point:

        ensemble/x5_surplus       first-layer connections of x5 less those of the state that has fewest beside it, both
                                  averaged over the ensemble: negative where x5 has the fewest
        ensemble/NAME_to_dense    the mean of test/NAME over that of the ensemble without penalty, for the errors and
                                  blow-ups of `COMPARED`; left out where the latter is zero

    Ratios are of means: single networks may have no blow-up at all.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.model, json.dumps(dict(result.point), sort_keys=True)), []).append(result)
    dense = {_kind(runs[0]): runs for runs in groups.values() if not _penalty(runs[0])}
    return [
        {
            "model": runs[0].model,
            "point": dict(runs[0].point),
            "metrics": _surplus(runs) | _against(runs, dense.get(_kind(runs[0]), [])),
            "n": len(runs),
        }
        for runs in groups.values()
    ]


def _penalty(result: Result) -> float:
    return float(result.config()["model"]["init_args"].get("l1", 0.0))


def _kind(result: Result) -> str:
    """Data and layers: what a dense network and sparse ones have in common."""
    config = result.config()
    data, model = ({**config[part]["init_args"]} for part in ("data", "model"))
    data.pop("seed", None)
    model.pop("l1", None)
    return json.dumps([data, model], sort_keys=True)


def _surplus(runs: Sequence[Result]) -> dict[str, float]:
    states = [name for name in Electrolysis.columns if name.startswith("x")]
    connections = np.mean([run.arrays()["connections"][-1] for run in runs], axis=0)
    of_state = dict(zip(Electrolysis.columns, connections, strict=True))
    least = min(of_state[name] for name in states if name != "x5")
    return {"ensemble/x5_surplus": float(of_state["x5"] - least)}


def _against(runs: Sequence[Result], dense: Sequence[Result]) -> dict[str, float]:
    names = [f"test/{name}" for name in COMPARED]
    named = [name for name in names if all(name in run.metrics for run in (*runs, *dense))]
    found = {}
    for name in named:
        if dense and runs[0].id != dense[0].id and (beside := mean(run.metrics[name] for run in dense)) > 0:
            found[f"ensemble/{name.removeprefix('test/')}_to_dense"] = mean(run.metrics[name] for run in runs) / beside
    return found
