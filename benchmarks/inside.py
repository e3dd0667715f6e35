"""One Run executed in the command's own processes, which torchrun or srun started: decided and told by rank 0."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks import outer
from benchmarks.arguments import parser
from benchmarks.problems import BadInput
from benchmarks.ranks import Place
from benchmarks.word import Word, described, restored

if TYPE_CHECKING:
    from benchmarks.ending import Ending
    from benchmarks.execute import Options
    from benchmarks.plan import Plan, Run
    from benchmarks.progress import View
    from benchmarks.store import Result

INTERRUPTED = 128 + signal.SIGINT


@dataclass
class Leader:
    """Rank 0: what it meets the others by, and how it ends."""

    place: Place
    word: Word
    ending: Ending


def lead(options: argparse.Namespace, place: Place, execute: Callable[[argparse.Namespace, Leader], int]) -> int:
    """Rank 0: executes the command line, and sees to it that all others end when it does."""
    from benchmarks.ending import Ending, Interrupted

    if (word := _met(place)) is None:
        return 1
    leader = Leader(place, word, Ending())
    _obey(leader.ending)
    status = 1
    try:
        status = execute(options, leader)
    except BadInput:
        status = 2
        raise
    except Interrupted:
        print("interrupted: the same command goes on from the last snapshot", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)  # the others were interrupted, too, and would hear nothing
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends those that are left when the first one ends
        if status == 0:  # else others may still be in the midst of it
            _part()
        word.say("exit", status)
    return status


def _part() -> None:
    """Takes down what rank 0 and the others trained by, if they did."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _met(place: Place) -> Word | None:
    """Meets the other ranks; none where that fails, which is said."""
    place.enter(1)
    try:
        return Word(place)
    except RuntimeError as error:
        where = f"{place.address}:{place.port}"
        reason = str(error).partition("\n")[0]
        print(f"error: rank {place.rank} does not meet the others at {where}, MASTER_ADDR:MASTER_PORT ({reason})",
              file=sys.stderr)  # fmt: skip
        return None


def along(arguments: Sequence[str] | None, place: Place) -> int:
    """Any other rank: waits for rank 0's word, and trains with it. Prints nothing but its own failure."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        options = parser().parse_args(arguments)
    if options.list is not None or options.cite:
        return 0
    if (word := _met(place)) is None:
        return 1
    from benchmarks.ending import Ending, Interrupted
    from benchmarks.peer import train_along  # what takes long to import is there when rank 0 begins

    _obey(Ending())
    try:
        where = outer.places(options, place)
        kind, value = word.hear()
        if kind == "exit":
            return int(value)
        run = restored(value)
        how, place = prepared(run, options, options.results.resolve(), where, place)
        if fault := train_along(run, how, place):
            word.blame(fault)
            print(f"rank {place.rank}: {fault}", file=sys.stderr, flush=True)
        os._exit(1 if fault else 0)  # what the ranks talk by may abort a process that takes its time to end
    except BadInput as error:
        word.blame(str(error))
        return 2
    except Interrupted:
        os._exit(INTERRUPTED)  # not by way of what a library may still be waiting for
    except RuntimeError as error:
        print(f"error: rank {place.rank} has lost rank 0 ({str(error).partition(chr(10))[0]})", file=sys.stderr)
        return 1


def prepared(
    run: Run, options: argparse.Namespace, root: Path, where: tuple[str, int], place: Place
) -> tuple[Options, Place]:
    """How the Run executes here, and the place with its devices, taken."""
    from benchmarks.execute import Options
    from benchmarks.launch import cores
    from benchmarks.worker import take

    accelerator, count = where
    how = Options(root, options.wandb, accelerator, max(1, cores() // count), options.force, options.checkpoint_every)
    if options.data_dir:
        os.environ["ZOO_DATA_DIR"] = str(Path(options.data_dir).resolve())
    take(run, how, place)
    return how, replace(place, gpus=tuple(range(count)) if accelerator == "gpu" else ())


def _obey(ending: Ending) -> None:
    """Takes a launcher's SIGTERM and a terminal's Ctrl-C, which reaches all ranks, for the same."""
    ending.install()
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))


class Telling:
    """Stands where a worker has the pipe to its launcher: tells the other ranks that it begins, keeps the time."""

    def __init__(self, word: Word, run: Run, note: Callable[[str], None]) -> None:
        self.word, self.run, self.note = word, run, note
        self.overdue = False
        self.clock = threading.Timer(run.time_limit or threading.TIMEOUT_MAX, self._time_is_up)
        self.clock.daemon = True

    def send(self, message: tuple[Any, ...]) -> None:
        if message[0] == "begin":
            self.word.say("run", described(self.run))
            self.clock.start()
        elif message[0] == "wandb":
            self.note(message[1])

    def _time_is_up(self) -> None:
        from benchmarks.ending import LAST

        self.overdue = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST)
        os._exit(1)


def executed(run: Run, how: Options, leader: Leader, note: Callable[[str], None]) -> Result:
    """Rank 0's part of a Run, and its Result: new, or one that was finished already."""
    from benchmarks import execute, store, worker
    from benchmarks.ending import Interrupted

    folder, telling = how.results / run.folder, Telling(leader.word, run, note)
    folder.mkdir(parents=True, exist_ok=True)
    said: tuple[Any, ...] = ("broke", replace(execute.blank(run, how, 0), status="failed"))
    reason = ""
    try:
        with worker.locked([folder]), _logged(folder / leader.place.log):
            pipe = cast(Connection, telling)
            said = worker.made([run], how, 0, pipe, leader.ending, leader.place)
    except Interrupted:
        reason = f"time limit of {run.time_limit:g} s reached" if telling.overdue else leader.word.blamed()
        if not reason:
            raise
    except OSError as error:  # a Result that cannot be written
        reason = execute.explained(error)
    finally:
        telling.clock.cancel()
    if said[0] == "end":
        result = store.read(folder)
        assert result is not None, "it was written, or there"
        return replace(result, cached=said[1][0])
    result = replace(said[1], error=reason or leader.word.blamed() or f"rank 0: {said[1].error}")
    with suppress(OSError):
        store.write(result, folder)
    return result


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Sends what the process prints to the Run's log, until the Run has ended."""
    from benchmarks import worker

    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with worker.logged(path):
            yield
    finally:
        for number, descriptor in kept.items():
            os.dup2(descriptor, number)
            os.close(descriptor)


def launch(
    planned: Plan,
    root: Path,
    where: tuple[str, int],
    options: argparse.Namespace,
    leader: Leader,
    view: View,
) -> list[Result]:
    """The Results of the plan's only Run and of those that it needs, which are finished."""
    from benchmarks import store

    run = planned.runs[0]
    how, leader.place = prepared(run, options, root, where, leader.place)
    done = []
    for other in planned.ordered:
        made = store.finished(root / other.folder) if other is not run or not options.force else None
        if made is None:
            view.listen(other, "start", (other,))
            made = executed(other, how, leader, lambda text: view.listen(run, "note", text))
        else:
            made = replace(made, cached=True)
        view.listen(other, "cached" if made.cached else "end", made)
        done.append(made)
    return done
