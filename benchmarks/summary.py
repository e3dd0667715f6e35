"""The W&B run of an invocation: the tables of its Runs and claims, and the figures, to open a comparison with."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tracking import WandbRun

if TYPE_CHECKING:
    from benchmarks.report import Report

RUN_COLUMNS = ("id", "benchmark", "model", "seed", "status", "cached", "params", "fit_seconds", "device", "commit")
CLAIM_COLUMNS = ("benchmark", "model", "metric", "stated", "evidence", "mean", "low", "high", "n", "verdict", "reason")


def log(report: Report, mode: str, results: Path) -> str:
    """Logs an invocation's report; returns what went wrong with it, if anything."""
    now = datetime.datetime.now(datetime.UTC)
    names = [benchmark.name for benchmark in report.plan.benchmarks]
    about = {
        "id": f"summary-{secrets.token_hex(4)}",
        "job_type": "summary",
        "name": f"summary {now:%Y-%m-%d %H:%M}",
        "tags": sorted({name.partition("/")[0][:64] for name in names}),
        "config": {"benchmarks": names},
    }
    run = WandbRun(mode, results, results, about)
    run.do(lambda it: it.log(_media(report)))
    verdicts = [row["verdict"] for row in report.verdicts]
    counts = {f"claims/{verdict}": verdicts.count(verdict) for verdict in ("reproduced", "not reproduced", "not run")}
    run.finish({"results": len(report.rows), **counts}, exit_code=0)
    return run.problem


def _media(report: Report) -> dict[str, Any]:
    import wandb

    figures = {f"figures/{name}": wandb.Image(str(path)) for name, path in report.figures.items()}
    return {"runs": _table(run_rows(report.rows)), "claims": _table(claim_rows(report.verdicts)), **figures}


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    import wandb

    columns: list[str | int] = list(dict.fromkeys(name for row in rows for name in row))
    data = [[row.get(str(name)) for name in columns] for row in rows]
    return wandb.Table(columns=columns, data=data, allow_mixed_types=True)


def run_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a Run: who it is, whether it is new or cached, its sweep point and its test metrics."""
    return [
        {name: row[name] for name in RUN_COLUMNS}
        | dict(row["point"])
        | {name: value for name, value in row["metrics"].items() if name.startswith("test/")}
        for row in rows
    ]


def claim_rows(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a claim, its interval in two columns."""
    ends = [dict(zip(("low", "high"), row["interval"] or (None, None), strict=True)) for row in verdicts]
    return [{name: {**row, **end}[name] for name in CLAIM_COLUMNS} for row, end in zip(verdicts, ends, strict=True)]
