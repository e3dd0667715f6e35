"""Reference results: the rows and verdicts of each benchmark's last full run, and the tables made from them.

python -m benchmarks.reference FAMILY … --results DIR     keep the finished Runs of these families
python -m benchmarks.reference                            make the tables in the READMEs again
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import documents, tables
from benchmarks.build import class_at

FOLDER = Path(__file__).parent / "reference"
ROOT = Path(__file__).parent.parent
KEPT = ("id", "benchmark", "model", "seed", "point", "status", "error", "params", "steps", "fit_seconds", "metrics")
MOST_METRICS = 8  # beside each other in a README


def read(family: str) -> dict[str, dict[str, Any]]:
    """The reference results of a family's benchmarks, by their names; empty where there are none."""
    path = FOLDER / f"{family}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def of(benchmark: str) -> dict[str, Any]:
    """The reference results of a benchmark: runs and claims, of which date, machine, versions and commits."""
    return read(benchmark.partition("/")[0]).get(benchmark, {})


def keep(family: str, results: Path) -> Path:
    """Writes the reference results of the family's benchmarks that have finished Runs as they are now.

    The figure of each lies in `zoo/FAMILY/figures/` then, if the family's README shows it. What was kept of another
    benchmark stays, with the date of its own run. Raises ValueError where none was run, or of code in no commit.
    """
    from benchmarks import plan, report, schema, store

    files = {name: path for name, path in documents.benchmark_files().items() if name.startswith(f"{family}/")}
    read_one = schema.read_benchmark
    planned = plan.make([(read_one(n, p, documents.read(p), {}), False) for n, p in files.items()])
    stored = [store.finished(results / run.folder) or _missing(run) for run in planned.runs]
    done = [result for result in stored if result.status == "finished"]
    if not done:
        raise ValueError(f"{results} holds no finished Run of {family} as it is now: run it first")
    _refuse_changed(done)
    made = report.make(planned, stored, None)
    anew = {name: _part(name, made, done) for name in files}
    kept = {name: part for name, part in read(family).items() if part["runs"]}
    whole = {n: part if part["runs"] else kept.get(n, part) for n, part in anew.items()}
    path = FOLDER / f"{family}.json"
    store.write_whole(path, json.dumps(whole, indent=1) + "\n")
    for benchmark in planned.benchmarks:
        _keep_figure(benchmark, [result for result in done if result.benchmark == benchmark.name])
    return path


def _refuse_changed(done: Sequence[Any]) -> None:
    if changed := sorted({result.benchmark for result in done if result.commit.endswith("-dirty")}):
        raise ValueError(
            f"{', '.join(changed)} ran on code that is in no commit: commit it, and run with other --results"
        )


def _keep_figure(benchmark: Any, results: Sequence[Any]) -> None:
    """Draws a benchmark's figure of these Results where the family's README shows it."""
    family, _, name = benchmark.name.partition("/")
    folder, shown = ROOT / "zoo" / family, f"figures/{name}.png"
    readme = folder / "README.md"
    if results and benchmark.figure and readme.is_file() and shown in readme.read_text(encoding="utf-8"):
        (folder / "figures").mkdir(exist_ok=True)
        class_at(benchmark.figure)(results).savefig(folder / shown, dpi=120)


def _part(name: str, made: Any, done: Sequence[Any]) -> dict[str, Any]:
    """What is kept of a benchmark: when and where it ran, its finished Runs and its verdicts."""
    own = [result for result in done if result.benchmark == name]
    where: dict[str, Any] = {}
    if own:
        device = sorted({result.device for result in own})
        where = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": {"device": device, "cores": os.cpu_count(), "system": platform.system()},
            "versions": dict(own[0].versions),
            "commits": sorted({result.commit for result in own}),
        }
    return where | {
        "runs": [
            {key: row[key] for key in KEPT}
            for row in made.rows
            if (row["benchmark"], row["status"]) == (name, "finished")
        ],
        "claims": [row for row in made.verdicts if row["benchmark"] == name],
    }


def _missing(run: Any) -> Any:
    from benchmarks.store import Result

    point = dict(run.point)
    return Result(run.id, run.benchmark, run.model, run.seed, point, "not run", "not part of the last full run")


def blocks() -> dict[str, str]:
    """The generated blocks of the READMEs: `FAMILY` and `FAMILY/BENCHMARK`, each with its Markdown."""
    made: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        parts = {name: _block(part) for name, part in read(path.stem).items()}
        made |= parts
        made[path.stem] = "\n\n".join(f"### {name}\n\n{text}" for name, text in parts.items())
    return made


def _block(part: Mapping[str, Any]) -> str:
    runs, claims = part["runs"], part["claims"]
    parts = [tables.results_table("", _of_interest(runs, claims)).markdown()] if runs else []
    parts += [tables.claims_table("", claims).markdown()] if claims else []
    if runs:
        machine = f"{part['machine']['cores']} cores, {', '.join(part['machine']['device'])}"
        parts += [f"Run on {part['date']}, {machine}, torch {part['versions']['torch']}."]
    return "\n\n".join(parts)


def _of_interest(runs: Sequence[Mapping[str, Any]], claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows; where a page lacks room for all test metrics beside each other, with the loss and the claims' alone."""
    known = {name for row in runs for name in row["metrics"] if name.startswith("test/")}
    lines = {(row["model"], str(row["point"])) for row in runs}
    fits = len(known) <= MOST_METRICS or len(lines) <= tables.MOST_COLUMNS  # few lines: metrics below each other
    kept = known if fits else {"test/loss", *(claim["metric"] for claim in claims)}
    return [{**row, "metrics": {name: row["metrics"][name] for name in row["metrics"] if name in kept}} for row in runs]


def filled(text: str, made: Mapping[str, str]) -> str:
    """A README's text with the blocks between `<!-- results NAME -->` and `<!-- end -->` made anew."""

    def block(match: re.Match[str]) -> str:
        return f"<!-- results {match[1]} -->\n\n{made.get(match[1], 'Not run yet.')}\n\n<!-- end -->"

    return re.sub(r"<!-- results (\S+) -->.*?<!-- end -->", block, text, flags=re.S)


def readmes() -> list[Path]:
    """The checkout's READMEs that may hold generated tables."""
    return [path for path in (ROOT / "README.md", *sorted(ROOT.glob("zoo/*/README.md"))) if path.is_file()]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reference", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        for family in options.families:
            print(keep(family, options.results))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    made = blocks()
    for path in readmes():
        path.write_text(filled(path.read_text(encoding="utf-8"), made), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
