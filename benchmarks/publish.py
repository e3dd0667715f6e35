"""The command that makes shipped weights of a Result: a tensor file and its card, tried before they are kept."""

from __future__ import annotations

import argparse
import logging
import math
import pickle
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.problems import BadInput, Problem, close_matches
from benchmarks.ranks import PLACING
from zoo import _weights

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from torch import Tensor

    from benchmarks.store import Result
    from zoo._module import ZooModule

SHORTEST = 4  # an id's beginning that is meant: an empty one fits every Run
TOLERANCE = 1e-5  # relative: another device or number of threads sums a float32 mean in another order


def parser() -> argparse.ArgumentParser:
    """The arguments of `python -m benchmarks.publish`."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.publish",
        description="Makes weights for zoo.load of a finished Run, after its test metrics were computed again.",
        epilog="Exit status: 0 published, 2 refused, with nothing written.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("run", metavar="RUN_ID", help="the id of a finished Run, or its beginning")
    add("name", metavar="NAME", help="class.tag in lower case, e.g. fcn.gunpoint")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="where Results are (default: results)")
    add("--to", type=Path, default=_weights.FOLDER, metavar="DIR", help="where to (default: the zoo's own folder)")
    add("--replace", action="store_true", help="replace weights of that name")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    options = parser().parse_args(arguments)
    import lightning.pytorch  # noqa: F401  # which sets its logger's level, and after that we do

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        print(publish(options.run, options.name, options.results, options.to, replace=options.replace))
    except BadInput as error:
        print(f"error: nothing was written\n\n{error}", file=sys.stderr)
        return 2
    return 0


def publish(run_id: str, name: str, results: Path, to: Path = _weights.FOLDER, *, replace: bool = False) -> Path:
    """Writes NAME.safetensors and NAME.json into a folder, and returns the card's path.

    Both are first written elsewhere and loaded from there, and the test metrics are computed again. Raises BadInput
    for a Run that is unknown, ambiguous or did not finish, a name that is taken or does not fit, a checkpoint that is
    absent or cannot be read, and weights that do not give the Result's metrics; nothing is then written.
    """
    from benchmarks import cards, store

    try:
        known = store.results(results)
        result = _find(run_id, known, results)
        config = result.config()
        _check_name(name, config["model"]["class_path"], to, replace)
        tensors = _weights.encode(_state(Path(result.folder) / "checkpoint.ckpt"))
        card = cards.describe(name, result, known)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise _refusal("RUN_ID", f"cannot be published: {error}") from error
    with tempfile.TemporaryDirectory() as trial:
        card["recomputed"] = _tried(_weights.write(Path(trial), tensors, card), result, config)
    try:
        to.mkdir(parents=True, exist_ok=True)
        return _weights.write(to, tensors, card)
    except OSError as error:
        raise _refusal("--to", f"cannot be written to: {error}") from error


def _refusal(entry: str, message: str, close: tuple[str, ...] = ()) -> BadInput:
    return BadInput([Problem("command line", entry, message, close)])


def _find(run_id: str, known: Sequence[Result], results: Path) -> Result:
    """The one finished Result whose id is, or begins with, the given text."""
    if len(run_id) < SHORTEST:
        raise _refusal("RUN_ID", f"expected at least {SHORTEST} characters of an id, got {run_id!r}")
    found = [r for r in known if r.id == run_id] or [r for r in known if r.id.startswith(run_id)]
    if not found:
        remedy = f"benchmarks.store.load({str(results)!r}) lists the Runs of that folder"
        raise _refusal(
            "RUN_ID", f"no Run {run_id!r} in {results}; {remedy}", close_matches(run_id, [r.id for r in known])
        )
    if len(found) > 1:
        listed = ", ".join(r.folder for r in found[:5]) + (", …" if len(found) > 5 else "")
        raise _refusal(
            "RUN_ID",
            f"{run_id!r} fits {len(found)} Runs: {listed}; give more of the id, or a folder below as --results",
        )
    if found[0].status != "finished":
        raise _refusal("RUN_ID", f"Run {found[0].id} is not finished but {found[0].status}: {found[0].error}")
    return found[0]


def _check_name(name: str, class_path: str, to: Path, replace: bool) -> None:
    own = class_path.rpartition(".")[2].lower()
    if not re.fullmatch(rf"{re.escape(own)}\.[a-z0-9_]+", name):
        rule = f"{own}.TAG for this Run's class, TAG of lower-case letters, digits and '_'"
        raise _refusal("NAME", f"expected {rule}; got {name!r}")
    taken = [path for suffix in (_weights.CARD, _weights.TENSORS) if (path := to / f"{name}{suffix}").exists()]
    if taken and not replace:
        raise _refusal("NAME", f"{taken[0]} is there already: choose another name, or give --replace")


def _state(checkpoint: Path) -> dict[str, Tensor]:
    """The state_dict of a checkpoint, read without unpickling objects."""
    import torch

    if not checkpoint.is_file():
        raise _refusal("RUN_ID", f"no checkpoint {checkpoint}: run the benchmark again with --force")
    try:
        state: dict[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError) as error:
        raise _refusal("RUN_ID", f"{checkpoint} is no checkpoint of weights alone: {_first_line(error)}") from error
    if others := [key for key, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise _refusal("RUN_ID", f"{checkpoint}: {others[0]} is no tensor, and nothing else can be published")
    return state


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _tried(card: Path, result: Result, config: Mapping[str, Any]) -> list[str]:
    """The test metrics that the written weights were found to have.

    Raises BadInput where they cannot be loaded, do not predict from raw input, or have other metrics than the Result.
    """
    import zoo
    from benchmarks import cards
    from datamodules import DataMissing

    try:
        model = zoo.load(card)
        data = cards.data_of(config)
        model.predict(*(raw[:2] for raw in cards.raw_of(model, data)))
        found = recomputed(model, data, config)
    except (DataMissing, RuntimeError, TypeError, ValueError) as error:
        raise _refusal("RUN_ID", f"the written weights cannot be tried: {_first_line(error)}") from error
    for name, value in found.items():
        if not math.isclose(value, result.metrics.get(name, math.nan), rel_tol=TOLERANCE):
            measured = f"the weights have {name} = {value!r}, the Result says {result.metrics.get(name)!r}"
            raise _refusal("RUN_ID", f"{measured}: more than {TOLERANCE:g} apart")
    if not found:
        raise _refusal("RUN_ID", "the model logs no test metric: nothing says that the weights are the Result's")
    return sorted(found)


def recomputed(model: ZooModule, data: pl.LightningDataModule, config: Mapping[str, Any]) -> dict[str, float]:
    """The test metrics that a model itself logs, on the CPU; those of callbacks need the records of a training."""
    import lightning.pytorch as pl

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        for harmless in ("GPU available but not used", r"`isinstance\(treespec, LeafSpec\)` is deprecated"):
            warnings.filterwarnings("ignore", harmless)
        trainer = pl.Trainer(
            **{key: value for key, value in config["trainer"].items() if key not in PLACING},
            accelerator="cpu",
            devices=1,
            default_root_dir=folder,
            logger=False,
            inference_mode=model.inference_mode,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,
        )
        trainer.test(model, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}


if __name__ == "__main__":
    sys.exit(main())
