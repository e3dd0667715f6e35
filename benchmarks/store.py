"""Results on disk: written whole when a Run ends, one folder each, read back as a DataFrame."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FILE = "result.json"
VERDICTS = "verdicts.json"


@dataclass
class Result:
    """What a Run left. `status` is "finished", "failed" or "not run"; `error` says why.

    The metrics `test/…` are those of the saved weights; `train/…` and `val/…` are of the last epoch, also where the
    weights of another one were selected. A Run that was interrupted and went on counts its attempts; `fit_seconds`
    spans all that its result rests on, `total_seconds` and the peak of memory are of the last attempt. `stacked` Runs
    trained as one module: each one's seconds are the stack's divided by their number.
    """

    id: str
    benchmark: str
    model: str
    seed: int
    point: Mapping[str, Any] = field(default_factory=dict)
    status: str = "failed"
    error: str = ""
    attempts: int = 1
    stacked: int = 1
    params: int = 0
    steps: int = 0
    fit_seconds: float = 0.0
    steps_per_second: float = 0.0
    total_seconds: float = 0.0
    peak_memory_bytes: int = 0
    device: str = ""
    threads: int = 1
    commit: str = ""
    started: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    folder: str = ""
    cached: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """The flat record: metrics and sweep values as columns of their own."""
        record = asdict(self)
        metrics, point = record.pop("metrics"), record.pop("point")
        return {**record, "point": point, **point, **metrics}

    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        import yaml

        loaded: dict[str, Any] = yaml.safe_load((Path(self.folder) / "config.yaml").read_text(encoding="utf-8"))
        return loaded

    def history(self) -> pd.DataFrame:
        """The logged curves, a row a step at which something was logged."""
        import pandas as pd

        return pd.read_csv(Path(self.folder) / "history.csv")

    def arrays(self) -> dict[str, np.ndarray]:
        """What the model recorded, by name."""
        import numpy as np

        path = Path(self.folder) / "arrays.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)


def write_whole(path: Path, text: str) -> None:
    """Writes a file by a temporary one and a rename: whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    settle(temporary)
    temporary.replace(path)


def settle(path: Path) -> None:
    """Waits until a file is on the disk: what is renamed or written after it must not come there before it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write(result: Result, folder: Path) -> None:
    """Stores a Result; that of an earlier attempt is kept beside it."""
    path = folder / FILE
    if path.is_file():
        number = sum(1 for _ in folder.glob("result.earlier-*.json"))
        path.replace(folder / f"result.earlier-{number}.json")
    record = {k: v for k, v in asdict(result).items() if k not in ("folder", "cached")}
    write_whole(path, json.dumps(record, indent=1))


def read(folder: Path) -> Result | None:
    """The Result in a folder; none where the Run has not ended. Raises ValueError for a damaged file."""
    path = folder / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and the Run is made again") from error
    known = {f.name for f in fields(Result)}
    return Result(**{k: v for k, v in record.items() if k in known} | {"folder": str(folder)})


def finished(folder: Path) -> Result | None:
    """The Result in a folder if its Run finished; failed and damaged ones are never reused."""
    try:
        result = read(folder)
    except (ValueError, TypeError):
        return None
    return result if result and result.status == "finished" else None


def results(root: Path | str) -> list[Result]:
    """Every Result below a folder."""
    found = (read(path.parent) for path in sorted(Path(root).rglob(FILE)))
    return [result for result in found if result]


def verdicts(folder: Path) -> list[dict[str, Any]]:
    """The verdicts kept in a benchmark's folder; none where no claim was judged. Raises ValueError if damaged."""
    path = folder / VERDICTS
    try:
        kept: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [dict(row) for row in kept]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and the same command judges again") from error


def keep_verdicts(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Adds verdicts to a benchmark's folder: one on the same claim and the same Runs replaces the earlier one.

    Verdicts that rest on no Run say nothing about the folder and are not kept. Raises ValueError if it is damaged.
    """
    if not (new := [dict(row) for row in rows if row["runs"]]):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{VERDICTS}.lock").open("w") as lock:  # another suite may end at the same moment
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = {_claim_and_runs(row): row for row in (*verdicts(folder), *new)}
        write_whole(folder / VERDICTS, json.dumps(list(kept.values()), indent=1) + "\n")


def _claim_and_runs(row: Mapping[str, Any]) -> str:
    claim = [row.get(key) for key in ("kind", "model", "metric", "at", "stated", "statistic")]
    return json.dumps([claim, sorted(row.get("runs", ()))], sort_keys=True)


def frame(rows: Sequence[Result]) -> pd.DataFrame:
    """One row a Result, with every metric as a column."""
    import pandas as pd

    return pd.DataFrame([result.row for result in rows])


def load(results_dir: Path | str) -> pd.DataFrame:
    """One row for every Result below a folder: id, benchmark, model, seed, status, …, every metric."""
    return frame(results(results_dir))
