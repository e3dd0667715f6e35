"""Models compared over results folders and the shipped reference, with differences paired by seed.

python -m benchmarks.compare                           `results` and the reference
python -m benchmarks.compare runs-a runs-b --against runs-a:fcn --metric accuracy
python -m benchmarks.compare --format csv > table.csv

Importing this module imports no torch.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import layout, sources
from benchmarks.comparison import Comparison, Row, rows
from benchmarks.problems import BadInput, Problem, close_matches

FORMATS: dict[str, Callable[[Sequence[Comparison]], str]] = {
    "markdown": layout.markdown,
    "csv": layout.flat,
    "json": layout.document,
}
COLUMNS: dict[str, Callable[[Row], Any]] = {
    "model": lambda row: row.name,
    "seeds": lambda row: len(row.finished),
    "params": lambda row: row.params,
    "fit": lambda row: row.fit,
}


def parser() -> argparse.ArgumentParser:
    """The arguments of `python -m benchmarks.compare`."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description="Compares models over results folders and the shipped reference results.",
        epilog="Exit status: 0, or 2 for bad input.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("results", nargs="*", type=Path, metavar="RESULTS", help="results folders (default: results, if it exists)")
    add("--no-reference", action="store_true", help="leave the shipped reference results out")
    for name in ("benchmark", "model", "metric"):
        add(f"--{name}", action="append", default=[], metavar="GLOB", help=f"only such a {name}; may be repeated")
    add("--against", metavar="[SOURCE:]LABEL", help="the row that others are compared with (default: the first)")
    add("--sort", metavar="KEY", help=f"sort by {', '.join(COLUMNS)} or a metric")
    add("--descending", action="store_true", help="sort from the highest down")
    add("--format", choices=["terminal", *FORMATS], default="terminal", help="default: terminal")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        found = sources.gather(options.results, not options.no_reference)
        compared = compare(found, options)
    except BadInput as error:
        count = len(error.problems)
        print(f"error: {count} problem{'s' * (count > 1)}\n\n{error}", file=sys.stderr)
        return 2
    if options.format == "terminal":
        _print(compared)
    else:
        print(FORMATS[options.format](compared), end="")
    for note in (note for source in found for note in source.notes):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _print(compared: Sequence[Comparison]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    for one in compared:
        for table in layout.tables_of(one, console.width):
            console.print(table.rich())


def compare(found: Sequence[sources.Source], options: argparse.Namespace) -> list[Comparison]:
    """The comparisons that the options ask for, a benchmark each. Raises BadInput for names that fit nothing."""
    groups = rows(found)
    local = {row.benchmark for members in groups.values() for row in members if row.source != sources.REFERENCE}
    names = _matching("--benchmark", options.benchmark, groups, str) if options.benchmark else sorted(local or groups)
    members = [row for name in names for row in groups[name]]
    models = _matching("--model", options.model, [row.model for row in members], str)
    members = [row for row in members if row.model in models]
    metrics = _metrics(options.metric, members)
    _check_sort(options.sort, members)
    against = _baselines(options.against, members)
    compared = []
    for name in (name for name in names if any(row.benchmark == name for row in members)):
        own = _sorted([row for row in members if row.benchmark == name], options.sort, options.descending)
        shown = [metric for metric in metrics if any(metric in row.metrics for row in own)]
        asked = options.against if options.against and name not in against else ""
        compared.append(Comparison(name, own, shown, against.get(name, own[0]), asked))
    return compared


def _matching(argument: str, globs: Sequence[str], known: Iterable[str], short: Callable[[str], str]) -> list[str]:
    """The known names that fit any of the globs, whole or by their short form; all of them without globs."""
    names = list(dict.fromkeys(known))
    if not globs:
        return names
    fits = {glob: [n for n in names if any(fnmatch.fnmatchcase(x, glob) for x in (n, short(n)))] for glob in globs}
    problems = [_unknown(argument, glob, sorted({short(name) for name in names})) for glob in globs if not fits[glob]]
    if problems:
        raise BadInput(problems)
    chosen = {name for found in fits.values() for name in found}
    return [name for name in names if name in chosen]


def _unknown(argument: str, value: str, known: Sequence[str]) -> Problem:
    message = f"{value!r} fits none of the Results here; they have {', '.join(known)}"
    return Problem("command line", f"{argument} {value}", message, close_matches(value, list(known)))


def _short(metric: str) -> str:
    return metric.removeprefix("test/")


def _metrics(globs: Sequence[str], members: Sequence[Row]) -> list[str]:
    """Test metrics, or those that the globs name: `val/…` and `train/…` only in full."""
    known = list(dict.fromkeys(metric for row in members for metric in row.metrics))
    tested = [metric for metric in known if metric.startswith("test/")]
    chosen = {
        name for glob in globs for name in _matching("--metric", [glob], known if "/" in glob else tested, _short)
    }
    return [name for name in known if name in chosen] if globs else tested


def _check_sort(key: str | None, members: Sequence[Row]) -> None:
    metrics = {metric for row in members for metric in row.metrics}
    if key is not None and not {key, f"test/{key}"} & {*COLUMNS, *metrics}:
        raise BadInput([_unknown("--sort", key, [*COLUMNS, *sorted(map(_short, metrics))])])


def _sorted(members: Sequence[Row], key: str | None, descending: bool) -> list[Row]:
    """The rows in order of a column; those without a value stay last."""
    if key is None:
        return list(reversed(members)) if descending else list(members)

    def value(row: Row) -> Any:
        if key in COLUMNS:
            return COLUMNS[key](row)
        return row.estimate(key if key in row.metrics else f"test/{key}").mean

    present = [row for row in members if value(row) is not None]
    absent = [row for row in members if value(row) is None]
    return sorted(present, key=value, reverse=descending) + absent


def _baselines(label: str | None, members: Sequence[Row]) -> Mapping[str, Row]:
    """The row of each benchmark that a label names: by its whole name or, the first such, by its model."""
    if label is None:
        return {}
    found: dict[str, Row] = {}
    for named in (lambda row: row.model, lambda row: row.name):
        for row in reversed(members):
            if label in (named(row), f"{row.source}:{named(row)}"):
                found[row.benchmark] = row
    if not found:
        several = len({row.source for row in members}) > 1
        known = dict.fromkeys(row.name for row in members)
        known |= dict.fromkeys(f"{row.source}:{row.name}" for row in members) if several else {}
        raise BadInput([_unknown("--against", label, list(known))])
    return found


if __name__ == "__main__":
    sys.exit(main())
