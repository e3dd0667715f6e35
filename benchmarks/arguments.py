"""The arguments of `python -m benchmarks.run`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """The command's parser; what its values must be is checked where they are used."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Runs benchmarks and says, claim by claim, whether the papers' statements hold.",
        epilog="Exit status: 0 all Runs finished or not run with reason, 1 some failed, 2 bad input, 130 interrupted.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("names", nargs="*", metavar="NAME", help="a benchmark, a glob, or the path of a .yaml; none: the quick suite")
    add("--suite", metavar="NAME", help="a suite of configs/suites")
    add("--seeds", type=int, metavar="N", help="the number of seeds, in place of the benchmarks' own")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a benchmark's dotted key, e.g. trainer.max_steps=100",
    )
    add(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="where Results are kept (default: results)"
    )
    add("--data-dir", metavar="DIR", help="where data files are (default: $ZOO_DATA_DIR, else the cache folder)")
    add(
        "--devices",
        default="auto",
        metavar="auto|N",
        help="GPUs, or CPU workers: one for each Run, several for a Run of several devices",
    )
    add("--launcher", choices=["local"], default="local", help="where Runs execute")
    add(
        "--wandb",
        choices=["offline", "online", "disabled"],
        default="offline",
        help="Weights & Biases (default: offline)",
    )
    add(
        "--checkpoint-every",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how often a running training is saved to go on from (default: 30; 0: only when it is asked to end)",
    )
    add("--no-replicas", action="store_true", help="train every seed alone, to measure what stacking them saves")
    add("--list", nargs="?", const="*", metavar="PATTERN", help="list the benchmarks and end")
    add("--cite", action="store_true", help="print the BibTeX of what the benchmarks use and end")
    add("--dry-run", action="store_true", help="check everything, show the Runs, start nothing")
    add("--force", action="store_true", help="run again what is finished already")
    add("--strict", action="store_true", help="exit status 1 also where a claim is not reproduced")
    add("--json", action="store_true", help="one JSON document on standard output, all else on standard error")
    return made
