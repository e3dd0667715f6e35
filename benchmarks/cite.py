"""What to cite for benchmarks, as BibTeX: the papers, the data sets and the libraries that they use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from benchmarks import documents
from benchmarks.build import build, class_at, class_paths
from benchmarks.check import Checker
from benchmarks.identity import FRAME, packages
from benchmarks.problems import BadInput, Problem, unknown_key
from benchmarks.schema import Benchmark, read_benchmark

LIBRARIES = Path(__file__).parent / "libraries.bib"
#: The field that says where a paper appeared, for each type of entry.
VENUES = {"article": "journal", "inproceedings": "booktitle", "misc": "howpublished"}
ALWAYS = ("wandb",)  # Runs are logged to it, unless that is switched off
JOURNAL = re.compile(r"(?P<journal>.+?) (?P<volume>\d+)(?:\((?P<number>\d+)\))?, (?P<first>\d+)[-–](?P<last>\d+)")
ARXIV = re.compile(r"https?://arxiv\.org/(?:abs|pdf)/(.+?)(?:v\d+)?(?:\.pdf)?")


def citations(benchmarks: Sequence[Benchmark], software: bool = True) -> str:
    """The entries of exactly what the benchmarks use, each once: papers, then data sets, then (software) libraries.

    No data is fetched. Raises BadInput where a class, a data set or a paper's entry is wrong.
    """
    used = list(_used(benchmarks))
    known = entries(LIBRARIES.read_text(encoding="utf-8"))
    imported = libraries(benchmarks) if software else set()
    texts = [paper(benchmark) for benchmark, _ in used]
    texts += [cited for benchmark, label in used for cited in _data_sets(benchmark, label)]
    texts += [entry for name, entry in known.items() if name in imported]
    found: dict[str, str] = {}
    for text in texts:
        found |= {key: entry for key, entry in entries(text).items() if key not in found}
    return "\n\n".join(found.values())


def entries(text: str) -> dict[str, str]:
    """The entries of a BibTeX text, each of which begins a line, by their keys."""
    found = {}
    for part in re.split(r"^(?=@)", text, flags=re.M):
        if key := re.match(r"@\w+\s*\{\s*([^\s,]+)", part):
            found[key[1]] = part.strip()
    return found


def _used(benchmarks: Sequence[Benchmark]) -> Iterator[tuple[Benchmark, str]]:
    """Every label of the benchmarks, and those of others whose trained models they take."""
    waiting = [(benchmark, label) for benchmark in benchmarks for label in benchmark.models]
    seen = set()
    for benchmark, label in waiting:  # which grows on the way
        if (benchmark.name, label) in seen:
            continue
        seen.add((benchmark.name, label))
        yield benchmark, label
        arguments = (benchmark.models[label]["model"].get("init_args") or {}).values()
        references = [value["from"] for value in arguments if isinstance(value, dict) and set(value) == {"from"}]
        waiting += [_referred(benchmark, label, str(reference)) for reference in references]


def _referred(benchmark: Benchmark, label: str, reference: str) -> tuple[Benchmark, str]:
    name, _, target = reference.rpartition("/")
    other = benchmark
    if name != benchmark.name:
        for found, (path, _) in documents.select([name]).items():
            other = read_benchmark(found, path, documents.read(path), {})
    if target not in other.models:
        raise BadInput([unknown_key(benchmark.file, f"models.{label}", reference, list(other.models), "model")])
    return other, target


def paper(benchmark: Benchmark) -> str:
    """The entry of the benchmark's paper; empty where it names none. Raises BadInput for a wrong type or venue."""
    about = {key: str(value) for key, value in benchmark.paper.items()}
    kind = about.get("type", "misc")
    if kind not in VENUES:
        message = f"expected one of {', '.join(VENUES)}, got {kind!r}"
        raise BadInput([Problem(benchmark.file, "paper.type", message)])
    if kind != "misc" and "venue" not in about:
        raise BadInput([Problem(benchmark.file, "paper.venue", f"missing: an entry of type {kind} says where it is")])
    if "title" not in about:
        return ""
    key = re.sub(r"[^\w:.+-]+", "-", about.get("key", benchmark.name))
    lines = [f"  {name} = {{{value}}}" for name, value in _fields(about, kind).items() if value]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _fields(about: Mapping[str, str], kind: str) -> dict[str, str]:
    url, venue = about.get("url", ""), _escaped(about.get("venue", ""))
    journal = JOURNAL.fullmatch(venue) if kind == "article" else None
    where = {VENUES[kind]: venue}
    if journal:
        where = {key: journal[key] for key in ("journal", "volume", "number") if journal[key]}
        where["pages"] = f"{journal['first']}--{journal['last']}"
    arxiv = ARXIV.fullmatch(url)
    return {
        "author": " and ".join(re.split(r",? and |, ", _escaped(about.get("authors", "")))),
        "title": f"{{{_escaped(about['title'])}}}",  # braces keep the title's capitals
        **where,
        "year": about.get("year", ""),
        **({"eprint": arxiv[1], "archiveprefix": "arXiv"} if arxiv else {}),
        "url": url,
    }


def _escaped(text: str) -> str:
    """Text in which TeX's special characters stand for themselves; mathematics and braces stay what they are."""
    return re.sub(r"(?<!\\)([&%#])", r"\\\1", text)


def _data_sets(benchmark: Benchmark, label: str) -> list[str]:
    """What a label's data ask to be cited; data swept over are several."""
    checker = Checker(benchmark.file)
    found = [
        checker.resolve("data", node, pl.LightningDataModule, fill={"seed": 0}) for node in _data(benchmark, label)
    ]
    checker.done()
    try:
        return [getattr(build(node), "citation", "") for node in found if node]
    except (ValueError, TypeError, ImportError) as error:
        raise BadInput([Problem(benchmark.file, "data.init_args", str(error))]) from error


def _data(benchmark: Benchmark, label: str) -> Iterator[Any]:
    settings = benchmark.models[label]
    swept = {key: values for key, values in settings["sweep"].items() if key.startswith("data.")}
    if not swept:
        yield settings["data"]
    for key, values in swept.items():
        yield from (_with(settings["data"], key.split(".")[1:], value) for value in values)


def _with(node: Any, keys: Sequence[str], value: Any) -> Any:
    """A mapping in which one value, at nested keys, is another one."""
    if not keys:
        return value
    inner = node if isinstance(node, dict) else {}
    return {**inner, keys[0]: _with(inner.get(keys[0]), keys[1:], value)}


def libraries(benchmarks: Sequence[Benchmark]) -> set[str]:
    """The libraries, by the names that they are imported by, which the benchmarks' code uses and their data name."""
    named, data = {*FRAME, *ALWAYS}, set()
    for benchmark, label in _used(benchmarks):
        rest = {key: value for key, value in benchmark.models[label].items() if key != "data"}
        functions = [path for path in (benchmark.figure, benchmark.summary) if path]
        sources = [_found(benchmark, path) for path in class_paths({"data": list(_data(benchmark, label))})]
        named |= {_found(benchmark, path).__module__ for path in (*class_paths(rest), *functions)}
        named |= {name for source in sources for name in getattr(source, "libraries", ())}
        data |= {source.__module__ for source in sources}
    return packages(named, data)


def _found(benchmark: Benchmark, path: str) -> Any:
    try:
        return class_at(path)
    except Exception as error:  # importing runs the module, which may raise anything
        command = f"python -m benchmarks.run {benchmark.name} --dry-run"
        raise BadInput([Problem(benchmark.file, path, f"cannot be imported: {error}", command=command)]) from error
