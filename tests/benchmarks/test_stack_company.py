"""A stack whose members are not all alike: finished already, failing to be saved, or marked in two stacks at once."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from benchmarks import grouping, stack, store, train, worker
from benchmarks.ending import Ending
from benchmarks.execute import Options
from benchmarks.grouping import MARK, SNAPSHOT, grouped, stack_folder
from benchmarks.plan import Run
from benchmarks.progress import View
from tests.benchmarks.stacking import HERE, assert_same, stacked
from tests.benchmarks.test_stacked_suites import nets, planned


class Driver:
    """Hears what a worker says."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def send(self, word: Any) -> None:
        self.said.append(word)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return planned(nets(seeds=4), tmp_path)


def made(runs: Sequence[Run], results: Path, **options: Any) -> Driver:
    """What the worker of these Runs does, in this process."""
    for run in runs:
        (results / run.folder).mkdir(parents=True, exist_ok=True)
    driver = Driver()
    driver.send(worker.made(runs, Options(results, "disabled", **options), 0, cast(Any, driver), Ending()))
    return driver


def interrupted(runs: Sequence[Run], results: Path, snapshot: bool = True) -> Path:
    """What an interruption leaves of a stack; the snapshot itself cannot be read, and the stack begins anew."""
    folder = stack_folder(runs, results)
    folder.mkdir(parents=True)
    (folder / MARK).write_text(json.dumps([str(run.folder) for run in runs]))
    if snapshot:
        (folder / SNAPSHOT).write_text("damaged")
    return folder


def finish(runs: Sequence[Run], results: Path) -> None:
    for run in runs:
        (results / run.folder).mkdir(parents=True, exist_ok=True)
        store.write(store.Result(run.id, run.benchmark, run.model, run.seed, status="finished"), results / run.folder)


def statuses(runs: Sequence[Run], results: Path) -> list[str]:
    return [result.status if (result := store.read(results / run.folder)) else "" for run in runs]


def test_random_numbers_of_a_test_do_not_depend_on_the_company(tmp_path: Path) -> None:
    noisy: dict[str, Any] = {"model": {"class_path": f"{HERE}.Noisy", "init_args": {"in_features": 2}}}
    expected = dict(zip((0, 3, 5), stacked([0, 3, 5], tmp_path / "all", **noisy), strict=True))
    for seeds in ([3, 0], [5]):
        for seed, own in zip(seeds, stacked(seeds, tmp_path / str(seeds), **noisy), strict=True):
            assert_same(expected[seed], own)


FAULTS: dict[str, tuple[Exception, str]] = {
    "disk": (OSError(errno.ENOSPC, "No space left on device", "x.ckpt"), "the disk is full writing x.ckpt"),
    "memory": (MemoryError("no room"), "out of memory: no room"),
}


@pytest.mark.parametrize("lacks", FAULTS)
def test_what_the_machine_lacks_when_one_is_saved_loses_no_training(
    lacks: str, runs: list[Run], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, said = FAULTS[lacks]
    save: Callable[..., None] = train._save

    def full(trainer: Any, model: Any, path: Path) -> None:
        if str(runs[1].folder) in str(path):
            raise fault
        save(trainer, model, path)

    folder = interrupted(runs, results)
    with monkeypatch.context() as patched:
        patched.setattr(train, "_save", full)
        made(runs, results, checkpoint_every=1e-9)
    found = [store.read(results / run.folder) for run in runs]
    assert [result.status for result in found if result] == ["failed"] * 4
    assert all(result.error.startswith(said) for result in found if result)
    assert (folder / SNAPSHOT).is_file()
    made(runs, results)
    again = [store.read(results / run.folder) for run in runs]
    assert [(result.status, result.attempts) for result in again if result] == [("finished", 2)] * 4
    assert not folder.exists()


def test_what_was_finished_in_other_company_is_not_touched(runs: list[Run], results: Path) -> None:
    made(runs[:1], results)
    folder = results / runs[0].folder
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}
    interrupted(runs, results)
    (group,) = grouped(runs[1:], runs, results, 1)
    assert len(group) == 4
    driver = made(group, results)
    assert driver.said[-1] == ("end", [True, False, False, False])
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before
    assert not list(folder.glob("result.earlier*"))
    assert statuses(runs, results) == ["finished"] * 4
    found = [store.read(results / run.folder) for run in runs]
    assert [result.stacked for result in found if result] == [1, 4, 4, 4]
    shutil.rmtree(results)
    made(runs, results)
    expected = [store.read(results / run.folder) for run in runs]
    assert [one.metrics for one in expected if one] == [one.metrics for one in found if one]


def test_of_stacks_that_share_a_member_one_goes_on_and_none_is_lost(runs: list[Run], results: Path) -> None:
    """Whatever two of them are left, and whichever Run of them has been finished since."""
    stacks = [some for size in (2, 3, 4) for some in itertools.combinations(range(4), size)]
    for one, other in itertools.combinations(stacks, 2):
        for over in (set(), {0}, {1, 2}):
            left = [run for n, run in enumerate(runs) if n not in over]
            folders = {some: interrupted([runs[n] for n in some], results) for some in (one, other)}
            members = [run.folder for group in grouped(left, runs, results, 1) for run in group]
            assert len(members) == len(set(members)), "no Run is in two groups"
            assert set(members) >= {run.folder for run in left}
            for some, folder in folders.items():
                assert folder.exists() == (not set(some) <= over)
            shutil.rmtree(results)


def test_a_stack_with_members_that_are_not_asked_for_stays(runs: list[Run], results: Path) -> None:
    folder = interrupted(runs, results)
    assert [len(group) for group in grouped(runs[:2], runs[:2], results, 1)] == [2]
    assert grouped([], runs[:2], results, 1) == []
    assert folder.exists()


def test_a_mark_that_vanishes_while_it_is_looked_for_is_no_mark(
    runs: list[Run], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted(runs[:2], results)
    found = grouping._stacks

    def ended(place: Path) -> list[Path]:
        there = found(place)
        shutil.rmtree(folder)
        return there

    monkeypatch.setattr(grouping, "_stacks", ended)
    assert [len(group) for group in grouped(runs, runs, results, 1)] == [4]


def test_a_folder_that_another_has_removed_is_no_failure(
    runs: list[Run], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = worker.measure

    def removed(*args: Any) -> Any:
        found = measure(*args)
        shutil.rmtree(stack_folder(runs, results))
        return found

    monkeypatch.setattr(worker, "measure", removed)
    assert made(runs, results).said[-1] == ("end", [False] * 4)


def test_a_stack_that_left_no_snapshot_may_be_split(
    runs: list[Run], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: Any, **__: Any) -> None:
        raise MemoryError("too much")

    with monkeypatch.context() as patched:
        patched.setattr(stack, "run", too_much)
        made(runs, results)
    assert statuses(runs, results) == ["failed"] * 4
    assert [len(group) for group in grouped(runs, runs, results, 2)] == [2, 2]
    finish(runs, results)
    assert grouped([], runs, results, 2) == []
    assert not list(results.rglob(MARK))


def test_a_stack_is_shown_although_its_first_member_is_finished(runs: list[Run]) -> None:
    view, result = View(Console(quiet=True), 4), store.Result("", "", "", 0, status="finished")
    for run in runs[1:]:
        view.listen(run, "start", tuple(runs))
    view.listen(runs[0], "step", (5, 10))
    (row,) = view.running.values()
    assert row.cells[1] == "50%"
    for run in runs[1:]:
        view.listen(run, "end", result)
        assert not view.running, "all of them end together"
    assert (view.counts["finished"], view.counts["running"]) == (3, 0)


def test_the_logs_of_earlier_attempts_stay_and_lead_to_that_of_the_stack(
    runs: list[Run], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise SystemExit("killed")

    log = results / runs[1].folder / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("what an earlier attempt said\n")
    with monkeypatch.context() as patched:
        patched.setattr(worker, "measure", dies)
        with pytest.raises(SystemExit):
            made(runs, results)
    first, *more = log.read_text().splitlines()
    assert first == "what an earlier attempt said"
    assert more == [f"trained in a stack, whose log is {results / runs[0].folder / 'log.txt'}"]
