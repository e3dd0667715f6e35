"""How fast the harness is: pairs of programs that do equal work, measured in one process, in turn.

python -m benchmarks.speed                      every pair for the CPU, as a table
python -m benchmarks.speed 'stack/*' --json     some of them, as one JSON document
python -m benchmarks.speed --write              keep the rows, and make the README's table again

Importing this module imports no torch, so that --list and --help answer at once.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.pairs import Pair, discover
from benchmarks.problems import BadInput, Problem, close_matches

LIST_COMMAND = "python -m benchmarks.speed --list"
LEAST = 3  # turns: fewer have no quartiles


def parser() -> argparse.ArgumentParser:
    """The command's parser."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Measures pairs of programs that do equal work, ours and a plain one, in turn.",
        epilog="Exit status: 0 measured, whether or not a target is met; 2 bad input.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("pairs", nargs="*", metavar="PAIR", help="a pair or a glob; none: every pair of the device")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where the pairs are measured (default: cpu)")
    add("--repeats", type=int, default=7, metavar="N", help="turns of each side after its warm-up (default: 7)")
    add("--threads", type=int, default=1, metavar="N", help="of torch, on both sides alike (default: 1)")
    add("--list", action="store_true", help="list the pairs and end")
    add("--json", action="store_true", help="one JSON document on standard output and nothing else there")
    add("--write", action="store_true", help="keep the rows of all pairs, and make the README's table again")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        chosen = choose(options.pairs, options.device, anywhere=options.list)
        if options.list:
            return listing(chosen, options.json)
        _check(options)
        rows = measured(chosen, options)
    except BadInput as error:
        print(f"error: nothing was measured\n\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return report(rows, options)


def choose(names: Sequence[str], device: str, anywhere: bool = False) -> list[Pair]:
    """The pairs that the names or globs mean and that the device has, in the order of the folder.

    Raises BadInput with close matches for a name that fits nothing, and for one that belongs to another device.
    """
    pairs, problems, wanted = discover(), [], set()
    for name in names:
        fits = set(fnmatch.filter(pairs, name))
        here = {fit for fit in fits if anywhere or device in pairs[fit].devices}
        wanted |= here
        if not fits:
            close = close_matches(name, list(pairs))
            problems.append(Problem("command line", name, f"unknown pair {name!r}", close, LIST_COMMAND))
        elif not here:
            others = ", ".join(sorted({device for fit in fits for device in pairs[fit].devices}))
            problems.append(Problem("command line", name, f"not for {device}: expected --device {others}"))
    if problems:
        raise BadInput(problems)
    return [p for p in pairs.values() if (p.name in wanted if names else anywhere or device in p.devices)]


def listing(pairs: Sequence[Pair], as_json: bool) -> int:
    """Prints what the pairs are."""
    keys = ("name", "what", "at_most", "unit", "per", "devices")
    if as_json:
        print(json.dumps([{key: getattr(pair, key) for key in keys} for pair in pairs], indent=1))
        return 0
    width = max(len(pair.name) for pair in pairs)
    for pair in pairs:
        print(f"{pair.name:<{width}}  {pair.what}\n{'':<{width}}  at most {pair.at_most:.3g} ({pair.unit}), "
              f"each {pair.per}, on {', '.join(pair.devices)}")  # fmt: skip
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises BadInput for values that cannot be measured with."""
    from benchmarks.launch import cores

    problems = []
    if options.repeats < LEAST:
        problems.append(("--repeats", f"expected {LEAST} or more, for a spread, got {options.repeats}"))
    if not 1 <= options.threads <= cores():
        problems.append(("--threads", f"expected 1 to {cores()}, the cores there are, got {options.threads}"))
    if options.write and options.pairs:
        problems.append(("--write", "keeps what was measured of all pairs at one time: leave the names out"))
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            problems.append(("--device", "cuda: no GPU is visible"))
    if problems:
        raise BadInput([Problem("command line", *problem) for problem in problems])


def measured(pairs: Sequence[Pair], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the pairs, one after the other; a terminal shows which is being measured."""
    from rich.console import Console

    from benchmarks.allocator import keep_memory
    from benchmarks.pairs._turns import measure

    keep_memory()  # as in a worker process, and for both sides
    console, rows = Console(stderr=True), []
    for number, pair in enumerate(pairs, 1):
        if console.is_terminal:
            console.print(f"[{number}/{len(pairs)}] {pair.name} …", markup=False, highlight=False)
        rows.append(measure(pair, options.device, options.repeats, options.threads))
    return rows


def report(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> int:
    """Prints the rows, and keeps them where that is asked for."""
    from rich.console import Console

    from benchmarks.pairs import _record

    about = _record.facts(options.device, options.threads, options.repeats)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = 160
        console.print(_record.table(rows, [_record.said(about)]).rich())
    if options.write:
        _record.keep(rows, options.device, about)
        if _record.README.is_file():  # not beside an installed package
            text = _record.README.read_text(encoding="utf-8")
            _record.README.write_text(_record.filled(text, _record.read()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
