"""One Run over several devices: the result of one process with the whole batch, one Result, and an end in bounded time.

Two processes on the CPU stand for two GPUs.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from benchmarks import outer, plan, ranks, store
from benchmarks.ending import GRACE, LAST
from benchmarks.problems import BadInput
from benchmarks.ranks import Place
from benchmarks.run import main
from benchmarks.schema import read_benchmark
from tests.benchmarks.conftest import Invoke
from tests.benchmarks.ranked import Normed
from tests.benchmarks.shapes import Line
from tests.benchmarks.suites import MARKS, ROOT, at_work, command, kill, until

pytestmark = MARKS
SHAPES, RANKED = "tests.benchmarks.shapes", "tests.benchmarks.ranked"


def line(batch_size: int, **more: Any) -> dict[str, Any]:
    """65 samples: with two ranks the held-out shards have 33 and 32, three batches and two."""
    return {"class_path": f"{RANKED}.Uneven", "init_args": {"size": 65, "batch_size": batch_size, **more}}


def benchmark(model: str, **arguments: Any) -> dict[str, Any]:
    """One model on two devices."""
    return {
        "title": "Two ranks",
        "data": line(8, drop_last=True),
        "models": {"m": {"class_path": model, "init_args": arguments}},
        "trainer": {"max_epochs": 3, "devices": 2},
    }


def weights(row: dict[str, Any]) -> dict[str, torch.Tensor]:
    saved: dict[str, torch.Tensor] = torch.load(Path(row["folder"], "checkpoint.ckpt"), weights_only=True)["state_dict"]
    return saved


OPTIMIZERS = {
    "sgd": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
    "adam": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.05}},
}


def test_two_ranks_do_what_one_process_does_with_both_batches(invoke: Invoke) -> None:
    document = benchmark(f"{RANKED}.Buffered")
    document["models"] = {
        f"{name}-{many}": {
            "class_path": f"{RANKED}.Buffered",
            "optimizer": optimizer,
            "data": line(16 // many, drop_last=True),
            "trainer": {"devices": many},
        }
        for name, optimizer in OPTIMIZERS.items()
        for many in (1, 2)
    }
    found = invoke(document)
    assert found["status"] == 0, found["stderr"]
    rows = {row["model"]: row for row in found["runs"]}
    for name in OPTIMIZERS:
        one, two = (rows[f"{name}-{many}"] for many in (1, 2))
        assert one["steps"] == two["steps"] == 3 * 4
        assert weights(one).keys() == weights(two).keys()
        for key, tensor in weights(one).items():  # sums of float32 in another order, over twelve steps
            torch.testing.assert_close(weights(two)[key], tensor, rtol=0, atol=1e-6)
        assert two["metrics"].keys() == one["metrics"].keys() == {"train/loss", "val/loss", "test/loss"}
        for key, value in one["metrics"].items():
            assert two["metrics"][key] == pytest.approx(value, rel=1e-5)


def test_the_metrics_are_those_of_the_saved_weights_though_running_statistics_differ_by_rank(invoke: Invoke) -> None:
    (row,) = invoke(benchmark(f"{RANKED}.Normed"), "--set", "select={monitor: val/loss}")["runs"]
    model = Normed.load_from_checkpoint(Path(row["folder"], "checkpoint.ckpt"), weights_only=True).eval()
    x, y = Line(65).load("test")
    assert float((model(x) - y).square().mean().detach()) == pytest.approx(row["test/loss"], rel=1e-5)


def test_a_run_of_two_ranks_leaves_what_a_run_leaves(invoke: Invoke) -> None:
    (row,) = invoke(benchmark(f"{RANKED}.Buffered"), "--wandb", "offline")["runs"]
    folder = Path(row["folder"])
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    assert not [*folder.rglob("result.earlier-*"), *folder.rglob("*.partial"), *folder.rglob("resume.ckpt")]
    assert {path.name for path in folder.glob("log*")} == {"log.txt", "log.rank1.txt"}
    logged = store.read(folder).history()["val/loss"].dropna()  # type: ignore[union-attr]
    assert list(logged)[-1] == pytest.approx(row["val/loss"], rel=1e-12)  # what pandas reads of seventeen digits
    again = invoke(benchmark(f"{RANKED}.Buffered"))["runs"][0]
    assert (again["cached"], again["metrics"]) == (True, row["metrics"])


def test_every_shape_that_can_be_shared_is(invoke: Invoke) -> None:
    document = benchmark(f"{SHAPES}.TinyGAN") | {"callbacks": [{"class_path": f"{RANKED}.Alike"}], "data": line(8)}
    all_used = {"strategy": "ddp_find_unused_parameters_true"}
    document["models"] |= {
        "staged": {"class_path": f"{SHAPES}.Staged", "trainer": all_used},
        "half": {"class_path": f"{RANKED}.Half", "trainer": all_used},
        "unsaid": {"class_path": f"{RANKED}.Half"},
        "pendulum": {"class_path": f"{SHAPES}.Pendulum", "fit": False, "data": {"class_path": f"{SHAPES}.Line"}},
    }
    rows = {row["model"]: row for row in invoke(document)["runs"]}
    assert {name for name, row in rows.items() if row["status"] != "finished"} == {"unsaid"}
    _, error = rows["unsaid"]["error"].split(": ", maxsplit=1)  # both ranks meet it, and either may be the first
    remedy = "set trainer.strategy to ddp_find_unused_parameters_true"
    assert error == f"some parameters took no part in the loss: {remedy}"
    assert rows["staged"]["steps"] == 2 * 4 + 3 * 4  # 32 samples a rank in batches of eight
    energies = store.read(Path(rows["pendulum"]["folder"])).arrays()  # type: ignore[union-attr]
    shapes = {name: array.shape for name, array in energies.items()}
    assert shapes == {"energy": (1, 2, 32), "energy.rank1": (1, 2, 32)}


FAILURES = {
    ("killed", 1): "rank 1: killed by SIGKILL",
    ("killed", 0): "rank 0: killed by SIGKILL",
    ("exception", 1): "rank 1: RuntimeError: this rank always fails",
    ("exception", 0): "rank 0: RuntimeError: this rank always fails",
    ("exit", 1): "rank 1: the process ended with status 7",
    ("slow", 1): "time limit of 4 s reached",
}


def test_a_failure_of_one_rank_is_the_runs_and_named(invoke: Invoke, results: Path) -> None:
    document = benchmark(f"{SHAPES}.Linear") | {"time_limit": 4}
    for how, rank in FAILURES:
        arguments = {"how": how, "rank": rank}
        document["models"][f"{how}-{rank}"] = {"class_path": f"{RANKED}.Failing", "init_args": arguments}
    document["models"]["m"] |= {"trainer": {"devices": 1}}  # the last one: it has the places of those before it
    document["models"]["m"] = document["models"].pop("m")
    began = time.monotonic()
    found = invoke(document)
    assert time.monotonic() - began < 4 + 20  # the limit of the slow one, and seconds for each of the others
    assert found["status"] == 1
    rows = {row["model"]: row for row in found["runs"]}
    assert rows.pop("m")["status"] == "finished"
    for (how, rank), error in FAILURES.items():
        row = rows[f"{how}-{rank}"]
        assert row["status"] == "failed"
        assert row["error"].startswith(error), row["error"]
        assert len(list(Path(row["folder"]).glob("result*.json"))) == 1
    assert "this rank always fails" in Path(rows["exception-1"]["folder"], "log.rank1.txt").read_text()
    assert not at_work(results)


def noted() -> dict[str, Any]:
    """A few seconds of training with all that a snapshot has to keep, in epochs of sixty batches."""
    document = benchmark(f"{RANKED}.PacedNoted")
    document["data"] = {"class_path": f"{SHAPES}.Line", "init_args": {"size": 960, "batch_size": 8}}
    schedule = {"class_path": "torch.optim.lr_scheduler.OneCycleLR"}
    schedule["init_args"] = {"max_lr": 0.1, "total_steps": None}  # type: ignore[assignment]
    return document | {
        "optimizer": OPTIMIZERS["adam"],
        "lr_scheduler": schedule,
        "select": {"monitor": "train/loss"},
        "seeds": 1,
    }


def meanwhile(act: Callable[[], object]) -> threading.Thread:
    """Does something beside the command that this process executes."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_a_run_of_two_ranks_goes_on_to_the_same_bits(invoke: Invoke, results: Path, tmp_path: Path) -> None:
    """From its snapshots, after its driver was killed, was asked to end, and after a rank of it was killed."""
    (whole,) = invoke(noted(), "--results", str(tmp_path / "whole"))["runs"]
    often = ("--checkpoint-every", "0.2")

    def once_written(act: Callable[[], object]) -> Callable[[], object]:
        before = written(results)

        def wait_and_act() -> None:
            until(lambda: written(results) > before)
            act()

        return wait_and_act

    with command(tmp_path / "own.yaml", results) as driver:
        once_written(lambda: driver.send_signal(signal.SIGKILL))()
        assert driver.wait(LAST) == -signal.SIGKILL
    until(lambda: not at_work(results), LAST + GRACE)

    thread = meanwhile(once_written(lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert main([str(tmp_path / "own.yaml"), "--results", str(results), "--wandb", "disabled", *often]) == 130
    thread.join()
    assert not at_work(results)

    thread = meanwhile(once_written(lambda: kill(rank_1(results))))
    (row,) = invoke(noted(), *often)["runs"]
    thread.join()
    assert row["error"].startswith("rank 1: killed by SIGKILL")
    assert not at_work(results)

    (row,) = invoke(noted())["runs"]
    assert (row["attempts"], row["metrics"]) == (4, whole["metrics"])
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(row)[name], tensor)
    first, last = (store.read(Path(one["folder"])) for one in (whole, row))
    assert first is not None
    assert last is not None
    assert first.history().equals(last.history())
    arrays, kept = first.arrays(), last.arrays()
    assert arrays.keys() == kept.keys() == {"noise", "noise.rank1"}
    assert all(np.array_equal(array, kept[name]) for name, array in arrays.items())
    assert not np.isin(arrays["noise"], arrays["noise.rank1"]).any()


def written(results: Path) -> float:
    """When a snapshot was written; the beginning of time where there is none."""
    return max((path.stat().st_mtime for path in results.rglob("resume.ckpt")), default=0.0)


def rank_1(results: Path) -> int:
    (found,) = [one for one in at_work(results) if os.readlink(f"/proc/{one}/fd/1").endswith("log.rank1.txt")]
    return found


def test_a_run_that_another_suite_finishes_meanwhile_is_trained_by_no_rank(
    invoke: Invoke, results: Path, tmp_path: Path
) -> None:
    (made,) = invoke(benchmark(f"{SHAPES}.Linear"), "--results", str(tmp_path / "other"))["runs"]
    folder = results / "own" / "m" / made["id"]
    folder.mkdir(parents=True)
    lock = (folder / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish() -> None:
        until(lambda: holders(folder / ".lock"))
        for name in ("result.json", "config.yaml", "checkpoint.ckpt", "history.csv"):
            shutil.copy(Path(made["folder"], name), folder / name)
        lock.close()

    thread = meanwhile(finish)
    (row,) = invoke(benchmark(f"{SHAPES}.Linear"))["runs"]
    thread.join()
    assert (row["cached"], row["metrics"]) == (True, made["metrics"])
    assert not (folder / "log.rank1.txt").exists()


def holders(path: Path) -> list[int]:
    """The other processes that have a file open."""
    mine = [entry for entry in Path("/proc").glob("[0-9]*/fd/*") if int(entry.parts[2]) != os.getpid()]
    found = []
    for entry in mine:
        try:
            found += [int(entry.parts[2])] if os.readlink(entry) == str(path) else []
        except OSError:
            continue
    return found


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, document: dict[str, Any], *arguments: str) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main([str(path), "--results", str(tmp_path / "results"), *arguments]) == 2
    assert not list(tmp_path.rglob("log.txt"))
    return capsys.readouterr().err


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"devices": 0}, "trainer.devices\n  expected a whole number of at least 1"),
    "text": ({"devices": "two"}, "the processes of one Run with a device each, got 'two' (str)"),
    "list": ({"devices": [0, 1]}, "got [0, 1] (list)"),
    "truth": ({"devices": True}, "got True (bool)"),
    "fraction": ({"devices": 1.5}, "trainer.devices\n  expected "),
    "spawn": (
        {"strategy": "ddp_spawn"},
        "trainer.strategy\n  expected one of auto, ddp, ddp_find_unused_parameters_true",
    ),
    "sharded": ({"strategy": "fsdp", "devices": 2}, "(the launcher starts the processes itself, each with the whole"),
    "nodes": ({"num_nodes": 2}, "unknown argument of Trainer: 'num_nodes'"),
}


@pytest.mark.parametrize("case", BAD)
def test_settings_that_place_no_run(case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings, message = BAD[case]
    document = benchmark(f"{SHAPES}.Linear") | {"trainer": {"max_epochs": 1, **settings}}
    said = refused(capsys, tmp_path, document)
    assert "1 problem, nothing was started" in said
    assert message in said


def test_more_devices_than_places(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = refused(capsys, tmp_path, benchmark(f"{SHAPES}.Linear"), "--devices", "1")
    assert "own.yaml: models.m: trainer.devices\n  a Run takes 2 devices at once, and there is 1 CPU worker: " in said
    assert "raise --devices if the machine has more, or set trainer.devices to 1" in said


def test_models_and_data_that_cannot_be_shared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = benchmark(f"{SHAPES}.Ridge")
    document["models"]["small"] = {"class_path": f"{SHAPES}.Linear", "data": line(2) | {"init_args": {"size": 4}}}
    said = refused(capsys, tmp_path, document, "--set", "trainer.devices=5")
    reason = "trainer.devices is 5, but Ridge has no trainable parameters, whose gradients the processes would average"
    assert f"models.m\n  {reason}: give it one device" in said
    assert "models.small\n  trainer.devices is 5, but split val has only 4 samples" in said


def test_devices_make_another_id_and_one_device_left_out_none(document: dict[str, Any], invoke: Invoke) -> None:
    ids = {}
    for name, settings in {"out": {}, "one": {"devices": 1}, "two": {"devices": 2}}.items():
        answered = invoke(document | {"seeds": 1, "trainer": {"max_epochs": 2, **settings}}, "--dry-run")
        ids[name] = {row["id"] for row in answered["runs"]}
    assert not (ids["out"] | ids["one"]) & ids["two"]


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A benchmark of one Run that says nothing of devices."""
    document = benchmark(f"{SHAPES}.Linear", dropout=0.2)
    document["trainer"].pop("devices")
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def arguments(path: Path, results: Path) -> list[str]:
    return ["-m", "benchmarks.run", str(path), "--results", str(results), "--wandb", "disabled", "--json"]


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    ask = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]
    return subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def srun(*command: str) -> list[tuple[int, str, str]]:
    """The exit status, output and errors of two processes with the variables of a Slurm step."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    job |= {"SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_NODELIST": "here", "SLURM_NODEID": "0"}
    started = []
    for rank in ("1", "0"):
        own = os.environ | job | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}
        ask = [sys.executable, *command]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(ask, cwd=ROOT, env=own, **pipes))
    told = [process.communicate(timeout=120) for process in started]
    return [(process.returncode, *said) for process, said in zip(started, told, strict=True)][::-1]


def test_under_torchrun_one_run_is_that_of_the_launcher_and_srun_finds_it(
    alone: Path, invoke: Invoke, results: Path, tmp_path: Path
) -> None:
    document = yaml.safe_load(alone.read_text())
    (expected,) = invoke(document, "--set", "trainer.devices=2", "--results", str(tmp_path / "launched"))["runs"]
    done = torchrun(*arguments(alone, results))
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["runs"]
    assert (row["id"], row["metrics"], row["cached"]) == (expected["id"], expected["metrics"], False)
    assert {path.name for path in Path(row["folder"]).glob("log*")} == {"log.txt", "log.rank1.txt"}
    first, second = srun(*arguments(alone, results))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    (row,) = json.loads(first[1])["runs"]
    assert (row["id"], row["metrics"], row["cached"]) == (expected["id"], expected["metrics"], True)
    assert second[1:] == ("", "")


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_a_rank_that_fails_in_the_training_is_named(launcher: str, alone: Path, results: Path) -> None:
    model = {"class_path": f"{RANKED}.Failing", "init_args": {"how": "exception"}}
    alone.write_text(yaml.safe_dump(yaml.safe_load(alone.read_text()) | {"models": {"m": model}}))
    if launcher == "torchrun":
        done = torchrun(*arguments(alone, results))
        status, printed = done.returncode, done.stdout
    else:
        (status, printed, _), (other, *_) = srun(*arguments(alone, results))
        assert other == 1
    assert status == 1
    (row,) = json.loads(printed)["runs"]
    assert (row["status"], row["error"]) == ("failed", "rank 1: RuntimeError: this rank always fails")


def test_more_than_one_run_under_srun_is_refused_by_rank_0(alone: Path, results: Path) -> None:
    first, second = srun(*arguments(alone, results), "--seeds", "3")
    assert (first[0], second[0]) == (2, 2)
    assert "2 processes execute one Run together, and the plan has 3: own/m seed 0, own/m seed 1" in first[2]
    assert "choose one: name one benchmark, with --seeds 1" in first[2]
    assert second[1:] == ("", "")
    assert not list(results.iterdir())


def test_a_run_for_another_number_of_devices_than_were_started_is_refused(tmp_path: Path) -> None:
    needy = benchmark(f"{SHAPES}.Linear")
    saliency = {"class_path": f"{SHAPES}.Saliency", "init_args": {"explained": {"from": "own/m"}}, "fit": False}
    needy["models"]["saliency"] = saliency
    read = read_benchmark("own", tmp_path / "own.yaml", needy, {})
    planned = plan.make([(read, True)])
    planned.runs = planned.runs[1:]
    with pytest.raises(BadInput) as refusal:
        outer.require_only(planned, tmp_path, Place(0, 3, 0, 3))
    first, second = map(str, refusal.value.problems)
    assert "saliency: trainer.devices\n  2 devices, and 3 processes were started: leave it out, or start 2" in first
    assert "needs own/m seed 0, which has no Result in" in second


def test_devices_that_are_left_out_are_the_processes_and_a_change_of_the_protocol(tmp_path: Path) -> None:
    for devices, changed in (({}, ("trainer.devices=3",)), ({"devices": 2}, ())):
        document = benchmark(f"{SHAPES}.Linear") | {"trainer": {"max_epochs": 1, **devices}}
        read = read_benchmark("own", tmp_path / "own.yaml", document, {})
        ((filled, exact),) = outer.filled([(read, True)], Place(0, 3, 0, 3))
        assert exact
        assert filled.models["m"]["trainer"]["devices"] == devices.get("devices", 3)
        assert filled.changed == changed


SLURM = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "2", "SLURM_NTASKS": "64", "SLURM_JOB_ID": "7"}


def test_a_place_is_read_from_the_step_and_not_from_the_job() -> None:
    step = {"SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_TASKS_PER_NODE": "2(x3)", "SLURM_STEP_NODELIST": "gpu[03-04,7],b"}
    place = ranks.outer(SLURM | step)
    assert place is not None
    assert (place.rank, place.world, place.local_rank, place.local_world, place.node) == (5, 6, 1, 2, 2)
    assert (place.nodes, place.address) == (3, "gpu03")
    other = ranks.outer(SLURM | step | {"SLURM_STEP_ID": "1"})
    assert other is not None
    assert other.port != place.port
    assert ranks.outer(SLURM) is None  # a batch script: one process, which launches for itself
    assert ranks.outer(SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    with pytest.raises(BadInput, match=r"equally many processes of every node, .*=2,1: start as many on each"):
        ranks.outer(SLURM | step | {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1"})


def test_a_place_of_torchrun() -> None:
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
    told |= {"MASTER_ADDR": "here", "MASTER_PORT": "29400", "TORCHELASTIC_RUN_ID": "none"}
    place = ranks.outer(told | SLURM)  # torchrun in a step of srun
    assert place is not None
    assert (place.rank, place.world, place.local_rank, place.nodes, place.node) == (3, 4, 1, 2, 1)
    assert ranks.outer(told | {"WORLD_SIZE": "1"}) is None
    assert ranks.outer({}) is None
