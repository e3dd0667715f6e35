"""What the processes of one Run tell each other where no launcher of ours stands between them."""

from __future__ import annotations

import dataclasses
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.problems import BadInput, Problem
from benchmarks.ranks import Place

if TYPE_CHECKING:
    from benchmarks.plan import Run

MEET = 600.0  # seconds for all processes to have started


class Word:
    """A word from rank 0 to all others, and from each of them the reason why it failed.

    It goes by the store in which they meet for the training, too. The word is "run" with the Run that all are to
    execute, or "exit" with the status to end with. Raises RuntimeError where they do not meet.
    """

    def __init__(self, place: Place) -> None:
        from torch.distributed import PrefixStore, rendezvous

        store, *_ = next(rendezvous("env://", timeout=timedelta(seconds=MEET)))
        self.store = PrefixStore("paperzoo", store)
        self.place = place
        self.said = False

    def say(self, kind: str, value: Any) -> None:
        """Says it and waits until all have heard it; only the first word counts, since they go their way by it.

        Raises BadInput for a word that one of them cannot follow.
        """
        if self.said:
            return
        self.said = True
        self.store.set("word", yaml.safe_dump([kind, value]))
        end = time.monotonic() + MEET
        while self.store.add("heard", 0) < self.place.world - 1 and time.monotonic() < end:
            if kind == "run" and (fault := self.blamed()):
                raise BadInput([Problem("launcher", "", fault)])
            time.sleep(0.02)

    def hear(self) -> tuple[str, Any]:
        """Waits in short sleeps, so that a signal is taken at once."""
        while not self.store.check(["word"]):
            time.sleep(0.1)
        kind, value = yaml.safe_load(self.store.get("word"))
        self.store.add("heard", 1)
        return kind, value

    def blame(self, fault: str) -> None:
        """Lets rank 0 know, which notices no more than the loss of another rank."""
        with suppress(RuntimeError):  # rank 0, and the store with it, may be gone already
            if self.store.add("faults", 1) == 1:
                self.store.set("fault", f"rank {self.place.rank}: {fault}")

    def blamed(self) -> str:
        """The first failure of another rank; empty where there is none."""
        return self.store.get("fault").decode() if self.store.check(["fault"]) else ""


def described(run: Run) -> dict[str, Any]:
    """A Run as plain data."""
    return dataclasses.asdict(run)


def restored(told: dict[str, Any]) -> Run:
    """The Run that was described."""
    from benchmarks.plan import Run

    return Run(**told | {"needs": tuple(restored(other) for other in told["needs"])})
