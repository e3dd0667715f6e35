"""What a Run logs: a CSV history in its folder and, beside it, one Weights & Biases run."""

from __future__ import annotations

import csv
import io
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger

from benchmarks.store import write_whole

if TYPE_CHECKING:
    from benchmarks.plan import Run
    from benchmarks.store import Result

PROJECT = "paperzoo"
INIT_TIMEOUT = float(os.environ.get("WANDB_INIT_TIMEOUT") or 20)  # seconds; W&B's own 90 are long for a suite
FINISH_TIMEOUT = float(os.environ.get("WANDB_FINISH_TIMEOUT") or 30)

STARTING = Lock()  # W&B takes its folders from the process's environment, and asks on its terminal


class History:
    """Rows of metrics by step in memory, written as one CSV file with a column a metric."""

    EVERY = 5.0  # seconds between two writings on the way

    def __init__(self, path: Path) -> None:
        self.path = path
        self.due = 0.0
        self.rows: dict[tuple[str, int], dict[str, float]] = {}

    def add(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.setdefault((stage, step), {}).update(metrics)

    def save_if_due(self) -> None:
        if time.monotonic() >= self.due:
            self.save()
            self.due = time.monotonic() + self.EVERY

    def save(self) -> None:
        columns = dict.fromkeys(name for row in self.rows.values() for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", *columns])
        writer.writeheader()
        writer.writerows({"step": step, **row} for (_, step), row in self.rows.items())
        write_whole(self.path, text.getvalue())


class WandbRun:
    """One W&B run whose calls a thread of its own makes in order: no training waits for them, or fails by them.

    A server that cannot be used means offline; `problem` says what went wrong, and `unusable` that it will again.
    """

    def __init__(
        self,
        mode: str,
        folder: Path,
        results: Path,
        about: Mapping[str, Any],
        renamed: Callable[[str], object] = lambda identity: None,
    ) -> None:
        self.problem, self.unusable, self.renamed = "", False, renamed
        self.thread = ThreadPoolExecutor(1)
        self.run = self.thread.submit(self._start, mode, folder, results, about)

    def _start(self, mode: str, folder: Path, results: Path, about: Mapping[str, Any]) -> Any:
        with STARTING:
            return self._started(mode, folder, results, about)

    def _started(self, mode: str, folder: Path, results: Path, about: Mapping[str, Any]) -> Any:
        import wandb

        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            os.environ[name] = str(folder / "wandb")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off", silent=True, init_timeout=INIT_TIMEOUT, finish_timeout=FINISH_TIMEOUT, reinit="create_new"
        )
        start: Any = partial(wandb.init, project=PROJECT, dir=str(folder), settings=settings)
        unusable = (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError)
        before = set((folder / "wandb").glob("run-*"))  # of an earlier attempt: not to be touched
        try:
            with _nobody_to_ask():
                run = start(mode=mode, **about)
        except unusable as error:
            self.unusable, self.problem = True, f"W&B cannot be used ({_first_line(error)}): logged offline"
            for empty in set((folder / "wandb").glob("run-*")) - before:
                shutil.rmtree(empty, ignore_errors=True)
            other = f"{about['id']}-offline"  # W&B's process writes nothing to a second run of the same id
            self.renamed(other)
            run = start(mode="offline", **{**about, "id": other, "resume": None})
        run.define_metric("*", step_metric="global_step")
        link(Path(run.dir).parent, results / "wandb")
        return run

    def do(self, call: Callable[[Any], object]) -> None:
        """Has the thread make a call with the run, after those before it."""
        self.thread.submit(self._done, call)

    def _done(self, call: Callable[[Any], object]) -> None:
        try:
            call(self.run.result())
        except Exception as error:  # whatever W&B raises, the Run's own Result is not to be lost
            self.problem = self.problem or f"W&B took not everything ({type(error).__name__}: {_first_line(error)})"

    def finish(self, summary: Mapping[str, Any], exit_code: int, wait: float | None = None) -> None:
        """Closes the run when everything is on disk; what takes longer than `wait` is left alone."""
        self.close(summary, exit_code)
        self.closed(wait)

    def close(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Begins to close the run; `closed` waits for it, so that several may close at once."""

        def ended(run: Any) -> None:
            run.summary.update(summary)
            began = time.monotonic()
            run.finish(exit_code=exit_code)
            if time.monotonic() - began > 0.9 * FINISH_TIMEOUT:
                self.unusable = True
                told = "W&B takes no data: all is on disk, and `wandb sync --include-online` uploads it"
                self.problem = self.problem or told

        self.ending = self.thread.submit(self._done, ended)
        self.thread.shutdown(wait=False)

    def closed(self, wait: float | None = None) -> None:
        """Waits until the run is closed, or for so many seconds."""
        with suppress(TimeoutError):
            self.ending.result(wait)


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
            row = {**named, "global_step": at}
            self.run.do(lambda run: run.log(row))

    def save(self) -> None:
        self.history.save_if_due()


@contextmanager
def _nobody_to_ask() -> Iterator[None]:
    """Without a key W&B asks on a terminal, and would wait for an answer: here that is an error at once."""
    asked = sys.stdin
    with open(os.devnull, encoding="utf-8") as nobody:
        sys.stdin = nobody
        try:
            yield
        finally:
            sys.stdin = asked


def link(folder: Path, together: Path) -> None:
    """Shows a W&B run in the folder of all runs, for `wandb leet` and `wandb sync`; a link costs nothing."""
    together.mkdir(exist_ok=True)
    if folder.parent != together:
        with suppress(FileExistsError):
            (together / folder.name).symlink_to(os.path.relpath(folder, together), target_is_directory=True)


def log_checkpoint(logged: Any, run: Run, result: Result, folder: Path) -> None:
    """Adds the trained weights with their card to a W&B run: `zoo.load` takes the downloaded card."""
    import torch
    import wandb

    from benchmarks import cards
    from zoo import _weights

    name = re.sub(r"[^A-Za-z0-9_.-]", "-", "-".join((run.benchmark, run.model, *map(str, run.point.values()))))
    card = cards.describe(f"{name}-seed{run.seed}", result, [result])
    state = torch.load(folder / "checkpoint.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    about = {key: card[key] for key in ("class_path", "init_args", "benchmark", "run_id", "seed", "metrics", "input")}
    artifact = wandb.Artifact(card["name"], type="model", description=card["title"], metadata=about)
    with tempfile.TemporaryDirectory() as place:  # W&B takes copies
        path = _weights.write(Path(place), _weights.encode(state), card)
        for file in (path, path.with_name(f"{card['name']}{_weights.TENSORS}")):
            artifact.add_file(str(file))
    logged.log_artifact(artifact)


def identity(run: Run) -> str:
    """A W&B id of a new attempt at a Run: no two are ever the same, so that no two runs merge."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{run.model}-seed{run.seed}")
    return f"{name[:48]}-{secrets.token_hex(4)}"


def about(run: Run, identity: str, resumed: bool, device: str) -> dict[str, Any]:
    """What W&B is told of a Run: names, group, tags, and the configuration with flat columns before it."""
    columns = {
        "benchmark": run.benchmark,
        "label": run.model,
        "model": run.config["model"]["class_path"].rpartition(".")[2],
        "data": run.config["data"]["class_path"].rpartition(".")[2],
        "seed": run.seed,
        "run_id": run.id,
        **run.point,
    }
    point = [f"{key.rpartition('.')[2]}={value}" for key, value in run.point.items()]
    return {
        "id": identity,
        "resume": "allow" if resumed else None,
        "group": run.benchmark,
        "job_type": "run",
        "name": " ".join((run.model, *point, f"seed {run.seed}")),
        "tags": [tag[:64] for tag in (run.benchmark.partition("/")[0], run.paper, device) if tag],
        "config": {**columns, "resolved": run.config},
    }


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
