"""What a Run logs: a CSV history in its folder and, beside it, one Weights & Biases run."""

from __future__ import annotations

import csv
import io
import os
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from benchmarks.store import write_whole

PROJECT = "paperzoo"


class History:
    """Rows of metrics by step in memory, written as one CSV file with a column a metric."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, int], dict[str, float]] = {}

    def add(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.setdefault((stage, step), {}).update(metrics)

    def save(self) -> None:
        columns = dict.fromkeys(name for row in self.rows.values() for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", *columns])
        writer.writeheader()
        writer.writerows({"step": step, **row} for (_, step), row in self.rows.items())
        write_whole(self.path, text.getvalue())


class WandbRun:
    """One W&B run whose calls a thread of its own makes in order: no training waits for them, or fails by them."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.run = self.thread.submit(start)

    def log(self, row: Mapping[str, float]) -> None:
        self.thread.submit(lambda: self.run.result().log(row))

    def finish(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Waits until everything is on disk and closes the run; what went wrong is a warning."""
        try:
            run = self.thread.submit(self.run.result).result()
            run.summary.update(summary)
            run.finish(exit_code=exit_code)
        except Exception as error:  # whatever W&B raises, the Run's own Result is not to be lost
            warnings.warn(f"W&B run not closed: {type(error).__name__}: {error}", stacklevel=2)
        self.thread.shutdown()


class StageLogger(Logger):
    """Sends a stage's metrics to the history and to W&B, with steps that count on from the stage before."""

    def __init__(self, history: History, run: WandbRun | None, stage: str, first_step: int) -> None:
        super().__init__()
        self.history, self.run, self.stage, self.first_step = history, run, stage, first_step

    @property
    def name(self) -> str:
        return PROJECT

    @property
    def version(self) -> str:
        return self.stage

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The resolved configuration is logged once a Run, not once a stage."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        prefix = f"{self.stage}/" if self.stage else ""
        named = {name if name == "epoch" else prefix + name: float(value) for name, value in metrics.items()}
        at = self.first_step + (step or 0)
        self.history.add(self.stage, at, named)
        if self.run is not None:
            self.run.log({**named, "global_step": at})

    def save(self) -> None:
        self.history.save()


def start_wandb(mode: str, folder: Path, run: Any, device: str) -> Any:
    """The W&B run of a Run; a server that cannot be used means offline, with a warning."""
    import wandb

    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        os.environ[name] = str(folder / "wandb")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    (folder / "wandb").mkdir(exist_ok=True)
    about = {
        "project": PROJECT,
        "group": run.benchmark,
        "job_type": "run",
        "name": f"{run.model} seed {run.seed}",
        "tags": [tag for tag in (run.benchmark.partition("/")[0], run.paper, device) if tag],
        "config": {**run.config, "model_label": run.model, "seed": run.seed, "run_id": run.id, **run.point},
        "dir": str(folder),
    }
    settings = wandb.Settings(console="off", silent=True, init_timeout=20, finish_timeout=120)
    try:
        return wandb.init(mode=mode, settings=settings, **about)  # type: ignore[arg-type]
    except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        warnings.warn(f"W&B cannot be reached ({error}): this Run is logged offline", stacklevel=2)
        return wandb.init(mode="offline", settings=settings, **about)
