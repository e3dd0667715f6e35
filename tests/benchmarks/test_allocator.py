"""Memory that a step frees is there for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from benchmarks.allocator import keep_memory
torch.set_num_threads(1)
if {keep}:
    keep_memory()
def step():
    parts = [torch.ones(3_000_000) for _ in range(4)]
    return sum(part[0] for part in parts)
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Pages that the system hands out in twenty steps of 48 MB."""
    made = subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True)
    return int(made.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_no_step_waits_for_pages_that_an_earlier_one_had() -> None:
    assert faults(True) < 3_000_000 * 4 // 4096, "fewer than the pages of a single one of its tensors"
