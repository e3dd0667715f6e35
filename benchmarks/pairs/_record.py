"""What is kept of the measurements, and the tables made from their rows."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import Table

#: In a folder of its own: the files beside it are those of families.
FILE = Path(__file__).parents[1] / "reference" / "speed" / "speed.json"
README = Path(__file__).parents[2] / "README.md"
SCALES = {
    "seconds": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")),
}
UNITS = {"ratio": " ×", "+ms": " ms", "s": " s"}
CAPTION = "Equal work, in turn: median of the paired values [quartiles]"


def scaled(value: float | None, quantity: str = "seconds") -> str:
    """A cost in the largest unit of which there is one."""
    if value is None:
        return "–"
    size, unit = next((s for s in SCALES[quantity] if value >= s[0]), SCALES[quantity][-1])
    return f"{value / size:.3g} {unit}"


def _value(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return "–"
    sign = "+" if row["unit"] == "+ms" else ""
    return f"{row['ratio']:{sign}.3g}{UNITS[row['unit']]} [{row['low']:.3g}, {row['high']:.3g}]"


def _target(row: Mapping[str, Any]) -> str:
    return f"≤ {row['at_most']:.3g}{UNITS[row['unit']]}"


def table(rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Table:
    """A line a pair: what is beside what, the value with its spread, the target, both costs of a unit, the verdict."""
    reasons = list(dict.fromkeys(row["reason"] for row in rows if row["reason"]))
    lines = []
    for row in rows:
        costs = [scaled(row["ours"], row["quantity"]), scaled(row["theirs"], row["quantity"]), scaled(row["start_up"])]
        missing = f"– not run ({reasons.index(row['reason']) + 1})" if row["reason"] else ""
        verdict = missing or ("✔ met" if row["met"] else "✘ missed")
        lines.append([row["pair"], row["what"], row["per"], _value(row), _target(row), *costs, verdict])
    columns = ("pair", "ours, beside theirs", "a unit", "value", "target", "ours", "theirs", "start-up", "")
    numbered = [f"({number}) {reason}" for number, reason in enumerate(reasons, 1)]
    return Table(CAPTION, columns, lines, 3, [*numbered, *notes])


def facts(device: str, threads: int, repeats: int) -> dict[str, Any]:
    """When, where and with what the rows were measured."""
    from benchmarks.launch import cores
    from benchmarks.machine import commit, device_name, versions

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = {"cpu": cpu_model(), "cores": cores(), "memory_bytes": memory, "system": platform.system()}
    gpu = {"gpu": device_name("gpu", 0)} if device == "cuda" else {}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine | gpu,
        "versions": dict(versions()),
        "commit": commit(),
        "threads": threads,
        "repeats": repeats,
    }


def cpu_model() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def said(part: Mapping[str, Any]) -> str:
    """The facts in one line."""
    machine = part["machine"]
    memory = scaled(machine["memory_bytes"], "bytes")
    place = f"{machine.get('gpu', '')}{', ' if 'gpu' in machine else ''}{machine['cpu']}, {machine['cores']} cores"
    counts = f"{part['threads']} thread{'s' * (part['threads'] > 1)}, {part['repeats']} turns of each side"
    made = f"torch {part['versions']['torch']}, lightning {part['versions']['lightning']}, commit {part['commit']}"
    return f"Measured on {part['date']}, {place}, {memory}: {counts}; {made}."


def read() -> dict[str, dict[str, Any]]:
    """What was kept, by device; empty where nothing was."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def keep(rows: Sequence[Mapping[str, Any]], device: str, about: Mapping[str, Any]) -> None:
    """Puts the rows of a device in place of its earlier ones; those of other devices stay."""
    from benchmarks.store import write_whole

    FILE.parent.mkdir(parents=True, exist_ok=True)
    write_whole(FILE, json.dumps(read() | {device: {**about, "rows": list(rows)}}, indent=1) + "\n")


def block(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """The Markdown of what was kept: a table a device."""
    return "\n\n".join(table(part["rows"], [said(part)]).markdown() for part in kept.values()) or "Not measured yet."


def filled(text: str, kept: Mapping[str, Mapping[str, Any]]) -> str:
    """A README's text with what stands between `<!-- speed -->` and `<!-- end -->` made anew."""
    made = f"<!-- speed -->\n\n{block(kept)}\n\n<!-- end -->"
    return re.sub(r"<!-- speed -->.*?<!-- end -->", lambda _: made, text, flags=re.S)
