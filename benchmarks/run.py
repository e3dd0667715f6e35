"""The command line: names → plan → launch → store → report.

Importing this module imports neither torch nor Lightning, so that --list and --help answer at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import documents, inside, outer, ranks
from benchmarks.arguments import parser
from benchmarks.problems import BadInput, Problem


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    try:
        place = ranks.outer()
        if place is not None and place.rank:
            return inside.along(arguments, place)
        options = parser().parse_args(arguments)
        if options.cite or options.list is not None:
            return citing(options) if options.cite else listing(options)
        return execute(options) if place is None else inside.lead(options, place, execute)
    except BadInput as error:
        count = len(error.problems)
        if ranks.first():
            print(f"error: {count} problem{'s' * (count > 1)}, nothing was started\n\n{error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("interrupted: finished Runs are kept, the same command continues", file=sys.stderr)
        return 130


def citing(options: argparse.Namespace) -> int:
    """Prints the BibTeX of the papers, data sets and libraries that the benchmarks use."""
    _check_catalogue()
    benchmarks = [benchmark for benchmark, _ in chosen(options)]
    from benchmarks.cite import citations

    text = citations(benchmarks)
    print(json.dumps({"bibtex": text}) if options.json else text)
    return 0


def listing(options: argparse.Namespace) -> int:
    """Prints the benchmarks whose name matches, from the YAML files alone."""
    import fnmatch

    files = documents.benchmark_files()
    rows = [_listed(n, documents.read(p)) for n, p in files.items() if fnmatch.fnmatchcase(n, options.list)]
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    width = max((len(row["benchmark"]) for row in rows), default=0)
    for row in rows:
        needs = f"  [needs {', '.join(row['needs'])}]" if row["needs"] else ""
        print(f"{row['benchmark']:<{width}}  {row['title']}{needs}")
        counts = "; ".join(
            f"{n} {noun}{'s' * (n != 1)}" for n, noun in ((row["seeds"], "seed"), (row["claims"], "claim"))
        )
        print(f"{'':<{width}}  {', '.join(row['models'])}; {counts}")
    print(f"\nsuites: {', '.join(documents.suite_files())}")
    return 0


def _listed(name: str, document: dict[str, Any]) -> dict[str, Any]:
    seeds = document.get("seeds", 1)
    return {
        "benchmark": name,
        "title": document.get("title", ""),
        "family": name.partition("/")[0],
        "paper": (document.get("paper") or {}).get("key", ""),
        "models": list(document.get("models", {})),
        "seeds": 1 if document.get("deterministic") else seeds if isinstance(seeds, int) else len(seeds),
        "claims": len(document.get("claims", [])),
        "needs": list(document.get("needs", [])),
    }


def chosen(options: argparse.Namespace) -> list[tuple[Any, bool]]:
    """The benchmarks that the arguments name, each with whether it was named exactly."""
    import yaml

    from benchmarks.schema import read_benchmark

    settings, problems = {}, []
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals:
            problems.append(Problem("command line", f"--set {text}", "expected KEY=VALUE"))
        try:
            settings[key] = documents.parse(value)
        except yaml.YAMLError as error:
            problems.append(Problem("command line", f"--set {key}", f"broken value {value!r}: {error}"))
    picked = {n: (p, exact, settings) for n, (p, exact) in documents.select(options.names).items()}
    suite = options.suite or (None if options.names else "quick")
    for name, changes in (documents.suite(suite) if suite else {}).items():
        own = {**changes.get("set", {}), **settings}
        seeds = {"seeds": changes["seeds"]} if "seeds" in changes else {}
        picked.setdefault(name, (documents.benchmark_files()[name], False, own | seeds))
    made = []
    for name, (path, exact, own) in picked.items():
        try:
            document = documents.read(path)
            document |= {"seeds": own["seeds"]} if "seeds" in own else {}
            document |= {"seeds": options.seeds} if options.seeds is not None else {}
            made.append((read_benchmark(name, path, document, {k: v for k, v in own.items() if k != "seeds"}), exact))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return made


def execute(options: argparse.Namespace, leader: inside.Leader | None = None) -> int:
    """Plans, launches and reports; as the first of several processes only one Run, in these processes."""
    from rich.console import Console

    if options.data_dir:
        if not Path(options.data_dir).is_dir():
            raise BadInput([Problem("command line", "--data-dir", f"no folder {options.data_dir}")])
        os.environ["ZOO_DATA_DIR"] = str(Path(options.data_dir).resolve())
    if not 0 <= options.checkpoint_every < float("inf"):
        message = f"expected seconds, 0 or more, got {options.checkpoint_every}"
        raise BadInput([Problem("command line", "--checkpoint-every", message)])
    _check_catalogue()
    benchmarks = chosen(options) if leader is None else outer.filled(chosen(options), leader.place)
    console = Console(stderr=options.json)
    if not console.is_terminal:
        console.width = 120
    with console.status("loading torch and checking the configurations …"):
        from benchmarks import plan
        from benchmarks.machine import has_bf16

        place = outer.places(options, leader.place) if leader else _places(options)
        planned = plan.make(benchmarks, replicas=not options.no_replicas, bf16=has_bf16(place[0]))
        root = _results_folder(options)
        if leader is None:
            ranks.make_room(planned, {benchmark.name for benchmark, exact in benchmarks if exact}, *place)
        else:
            outer.require_only(planned, root, leader.place)
    if options.dry_run:
        return _show_plan(planned, root, options, console)
    results, wandb = _launch(planned, root, place, options, console, leader)
    return _report(planned, results, root, place[0], wandb, options, console)


def _check_catalogue() -> None:
    import zoo

    try:
        zoo.list_models()
    except (ValueError, SyntaxError) as error:
        raise BadInput([Problem("zoo", "", str(error))]) from error


def _places(options: argparse.Namespace) -> tuple[str, int]:
    from benchmarks.launch import places

    try:
        return places(options.devices)
    except ValueError as error:
        raise BadInput([Problem("command line", "--devices", str(error))]) from error


def _results_folder(options: argparse.Namespace) -> Path:
    root: Path = options.results.resolve()
    parent = next(p for p in (root, *root.parents) if p.exists())
    writable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    try:
        if not writable:
            raise PermissionError(f"{parent} is not a folder that can be written")
        if not options.dry_run:
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink()
    except OSError as error:
        message = f"cannot write results to {root} ({error}): give another folder"
        raise BadInput([Problem("command line", "--results", message)]) from error
    return root


def _show_plan(planned: Any, root: Path, options: argparse.Namespace, console: Any) -> int:
    from benchmarks import store
    from benchmarks.tables import pointed

    rows = []
    for run in planned.ordered:
        cached = store.finished(root / run.folder) is not None
        names = {"benchmark": run.benchmark, "model": run.model, "point": dict(run.point), "seed": run.seed}
        rows.append({"id": run.id, **names, "cached": cached})
    if options.json:
        absent = [result.row for result in planned.absent]
        print(json.dumps({"runs": rows + absent, "claims": []}, indent=1))
        return 0
    for row in rows:
        state = "cached" if row["cached"] else "to run"
        point = f" {pointed(row['point'])}" if row["point"] else ""
        name = f"{row['benchmark']}/{row['model']}{point} seed {row['seed']}"
        console.print(f"{row['id']}  {state}  {name}", highlight=False, soft_wrap=True)
    for row in planned.absent:
        console.print(f"{'–':<12}  not run  {row.benchmark}/{row.model}: {row.error}", highlight=False)
    return 0


def _launch(
    planned: Any,
    root: Path,
    place: tuple[str, int],
    options: argparse.Namespace,
    console: Any,
    leader: inside.Leader | None,
) -> tuple[Any, str]:
    """The Results of the planned Runs, and the W&B mode that the last of them could use."""
    from benchmarks.build import class_at, class_paths
    from benchmarks.execute import Options
    from benchmarks.launch import LocalLauncher, cores
    from benchmarks.progress import View

    if leader is not None:
        with View(console, len(planned.ordered)).shown() as view:
            return inside.launch(planned, root, place, options, leader, view), options.wandb
    accelerator, workers = place
    threads = max(1, cores() // workers)
    how = Options(root, options.wandb, accelerator, threads, options.force, options.checkpoint_every)
    # workers fork from one process that has imported the classes: an edit during a long suite changes no Run of it
    paths = {path for run in planned.ordered for path in class_paths(run.config)}
    classes = [class_at(path) for path in sorted(paths)]
    libraries = [c.__module__ for c in classes] + [name for c in classes for name in getattr(c, "libraries", ())]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runs = planned.ordered
    with View(console, len(runs)).shown() as view:
        launcher = LocalLauncher(how, workers, libraries, view.listen)
        return launcher.launch(runs), launcher.options.wandb


def _report(
    planned: Any, results: Any, root: Path, accelerator: str, wandb: str, options: argparse.Namespace, console: Any
) -> int:
    from benchmarks import report, summary
    from benchmarks.machine import device_name

    made = report.make(planned, results, root, device_name(accelerator, 0))
    if wandb != "disabled" and made.rows and (problem := summary.log(made, wandb, root)):
        made.notes.append(problem)
    made.print(console)
    if options.json:
        print(json.dumps({"runs": made.rows, "claims": made.verdicts}, indent=1))
    failed = any(row["status"] == "failed" for row in made.rows)
    missed = options.strict and any(row["verdict"] == "not reproduced" for row in made.verdicts)
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
