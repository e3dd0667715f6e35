"""The ranks of one Run beside its first: started when it begins, listened to, and ended with it."""

from __future__ import annotations

import math
import signal
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import TYPE_CHECKING

from benchmarks.ending import LAST, STATUS
from benchmarks.ranks import Place, world_size

if TYPE_CHECKING:
    from torch.distributed import TCPStore

    from benchmarks.execute import Options
    from benchmarks.plan import Run

PATIENCE = 0.5  # seconds in which what made rank 0 fail, if it was another rank, is known
NEVER_AN_ECHO = -math.inf  # the time of a death that no other rank can have caused
SOON = 3.0  # seconds for a rank that has nothing to save


def death(code: int) -> str:
    """What the exit status of a process says of its death."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": the system may be out of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}; the same command goes on from the last snapshot"
    if code == STATUS:
        return "ended by SIGTERM from outside: the same command goes on from there"
    return f"the process ended with status {code}; its log.txt may say why"


class Crew:
    """Rank 1 and up of a Run; a Run of one process has an empty one.

    The launcher serves their rendezvous itself, on a port that the system chose for it: no other process can have
    taken it when they come, and nobody outside this machine can.
    """

    def __init__(self, context: ForkServerContext, run: Run, options: Options, devices: Sequence[int]) -> None:
        self.context, self.run, self.options, self.gpus = context, run, options, devices
        self.world = world_size(run.config)
        self.members: dict[Connection, tuple[int, ForkServerProcess]] = {}
        self.faults: list[tuple[float, str, str]] = []  # when, which rank, and why
        self.store = self._served() if self.world > 1 else None

    @staticmethod
    def _served() -> TCPStore:
        from torch.distributed import TCPStore

        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        return TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())

    def place(self, rank: int) -> Place | None:
        """A rank's place; none for a Run of one process."""
        if self.store is None:
            return None
        gpus = tuple(self.gpus[: self.world]) if self.options.accelerator == "gpu" else ()
        port, identity = self.store.port, self.run.id
        return Place(rank, self.world, rank, self.world, port=port, identity=identity, hosted=True, gpus=gpus)

    def begin(self) -> None:
        """Starts them: rank 0 has the folder's lock, and nobody else has made the Result."""
        from benchmarks.peer import accompany

        for rank in range(1, self.world):
            ours, theirs = self.context.Pipe()
            name = f"{self.run.folder} rank {rank}"
            process = self.context.Process(
                target=accompany, args=(self.run, self.options, theirs, self.place(rank)), name=name
            )
            process.start()
            theirs.close()
            self.members[ours] = rank, process

    @property
    def connections(self) -> list[Connection]:
        return list(self.members)

    def hear(self, talking: Sequence[object]) -> None:
        """Takes the word or the death of those that have something to say."""
        for connection in self.connections:
            if connection in talking:
                self._hear(connection)

    def _hear(self, connection: Connection) -> None:
        rank, process = self.members.pop(connection)
        try:
            when, fault = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join(SOON)
            when, fault = NEVER_AN_ECHO, death(process.exitcode) if process.exitcode else ""
        connection.close()
        if fault:
            self.faults.append((when, f"rank {rank}", fault))
        _ended([process])

    @property
    def fault(self) -> str:
        """The first of their failures; empty where there is none."""
        return ": ".join(min(self.faults)[1:]) if self.faults else ""

    def why(self, said: str, when: float) -> str:
        """Why the Run fails, of which rank 0 says this: often but the echo of another rank's failure."""
        end = time.monotonic() + PATIENCE
        while self.members and not self._before(when) and (left := end - time.monotonic()) > 0:
            self.hear(wait(self.connections, left))
        other = self._before(when) and min(self.faults)[2] != said
        return self.fault if other else f"rank 0: {said}"

    def _before(self, when: float) -> bool:
        return any(fault[0] < when for fault in self.faults)

    def end(self, gently: bool = False) -> None:
        """Ends them: at once, or with those that are at their end as rank 0 was."""
        _ended([process for _, process in self.members.values()], SOON if gently else 0.0)
        self.store = None  # who still waits for the others there, and can take no signal, learns that nobody comes
        for connection in self.connections:
            connection.close()
        self.members.clear()


def _ended(processes: Sequence[ForkServerProcess], wait_first: float = 0.0) -> None:
    """Waits for processes, asks those that are left to end, and kills those that do not."""
    steps: tuple[tuple[Callable[[ForkServerProcess], None] | None, float], ...] = (
        (None, wait_first),
        (ForkServerProcess.terminate, SOON),
        (ForkServerProcess.kill, LAST),
    )
    for act, seconds in steps:
        left = [process for process in processes if process.is_alive()]
        if act is not None:
            for process in left:
                act(process)
        end = time.monotonic() + seconds
        for process in left:
            process.join(max(0.0, end - time.monotonic()))
