"""Bad input: what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One mistake of a user's: the file (or command line), the entry in it, and the sentence that explains it."""

    file: str
    entry: str
    message: str
    close: tuple[str, ...] = ()
    command: str = ""

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.entry}" if self.entry else self.file, f"  {self.message}"]
        if self.close:
            lines.append(f"  did you mean {' or '.join(self.close)}?")
        if self.command:
            lines.append(f"  choices: {self.command}")
        return "\n".join(lines)


class BadInput(Exception):
    """Everything that is wrong with an invocation; nothing was started."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def close_matches(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Up to three names like the given one, compared whole and by their last part."""
    tails = {k.replace("/", ".").rpartition(".")[2].lower(): k for k in known}
    tail = name.replace("/", ".").rpartition(".")[2].lower()
    whole = difflib.get_close_matches(name, list(known), n=3)
    return tuple(dict.fromkeys(whole + [tails[t] for t in difflib.get_close_matches(tail, list(tails), n=2)]))[:3]


def unknown_key(file: str, entry: str, key: str, known: Sequence[str], what: str = "key") -> Problem:
    """The problem of a key that is not among the known ones."""
    place = f"{entry}.{key}" if entry else key
    choices = f"expected one of {', '.join(known)}" if known else "there are none"
    return Problem(file, place, f"unknown {what} {key!r}; {choices}", close_matches(key, list(known)))


def wrong_type(file: str, entry: str, value: Any, expected: str) -> Problem:
    """The problem of a value of another type."""
    return Problem(file, entry, f"expected {expected}, got {value!r} ({type(value).__name__})")
