"""Reference results: the rows and verdicts of the last full run of a family, and the tables made from them.

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

FOLDER = Path(__file__).parent / "reference"
KEPT = ("id", "benchmark", "model", "seed", "point", "status", "error", "params", "steps", "fit_seconds", "metrics")


def read(family: str) -> dict[str, Any]:
    """The reference results of a family; empty where there are none."""
    path = FOLDER / f"{family}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def keep(family: str, results: Path) -> Path:
    """Writes the family's reference results from the finished Runs of its benchmarks as they are now."""
    from benchmarks import plan, report, schema, store

    files = {name: path for name, path in documents.benchmark_files().items() if name.startswith(f"{family}/")}
    read_one = schema.read_benchmark
    planned = plan.make([(read_one(n, p, documents.read(p), {}), False) for n, p in files.items()])
    stored = [store.finished(results / run.folder) or _missing(run) for run in planned.runs]
    made = report.make(planned, stored, None)
    done = [result for result in stored if result.status == "finished"]
    if not done:
        raise ValueError(f"{results} holds no finished Run of {family} as it is now: run it first")
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"device": sorted({r.device for r in done}), "cores": os.cpu_count(), "system": platform.system()},
        "versions": done[0].versions,
        "commits": sorted({result.commit for result in done}),
        "runs": [{key: row[key] for key in KEPT} for row in made.rows if row["status"] == "finished"],
        "claims": made.verdicts,
    }
    path = FOLDER / f"{family}.json"
    store.write_whole(path, json.dumps(document, indent=1) + "\n")
    return path


def _missing(run: Any) -> Any:
    from benchmarks.store import Result

    point = dict(run.point)
    return Result(run.id, run.benchmark, run.model, run.seed, point, "not run", "not part of the last full run")


def blocks() -> dict[str, str]:
    """The generated blocks of the READMEs: `FAMILY` and `FAMILY/BENCHMARK`, each with its Markdown."""
    made: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        names = list(dict.fromkeys(row["benchmark"] for row in document["claims"] + document["runs"]))
        parts = {name: _block(name, document) for name in names}
        made |= parts
        made[path.stem] = "\n\n".join(f"### {name}\n\n{text}" for name, text in parts.items())
    return made


def _block(name: str, document: Mapping[str, Any]) -> str:
    runs = [row for row in document["runs"] if row["benchmark"] == name]
    claims = [row for row in document["claims"] if row["benchmark"] == name]
    parts = [tables.results_table("", runs).markdown()] if runs else []
    parts += [tables.claims_table("", claims).markdown()] if claims else []
    machine = f"{document['machine']['cores']} cores, {', '.join(document['machine']['device'])}"
    parts += [f"Run on {document['date']}, {machine}, torch {document['versions']['torch']}."] if runs else []
    return "\n\n".join(parts)


def filled(text: str, made: Mapping[str, str]) -> str:
    """A README's text with the blocks between `<!-- results NAME -->` and `<!-- end -->` made anew."""

    def block(match: re.Match[str]) -> str:
        return f"<!-- results {match[1]} -->\n\n{made.get(match[1], 'Not run yet.')}\n\n<!-- end -->"

    return re.sub(r"<!-- results (\S+) -->.*?<!-- end -->", block, text, flags=re.S)


def readmes() -> list[Path]:
    """The checkout's READMEs that may hold generated tables."""
    root = Path(__file__).parent.parent
    return [path for path in (root / "README.md", *sorted(root.glob("zoo/*/README.md"))) if path.is_file()]


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
