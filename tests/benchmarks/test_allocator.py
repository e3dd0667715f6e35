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
    parts = [torch.ones({size}) for _ in range(4)]
    return sum(part[0] for part in parts)
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


SIZE = 10_000_000  # 40 MB, beyond the 32 MB up to which glibc learns by itself to keep what is freed
PAGES = SIZE * 4 // 4096


def faults(keep: bool) -> int:
    """Pages that the system hands out in twenty steps of four tensors."""
    code = FAULTS.format(keep=keep, size=SIZE)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(made.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_no_step_waits_for_pages_that_an_earlier_one_had() -> None:
    assert faults(True) < 4 * PAGES, "fewer than a single step's: the heap may grow by a tensor once, for its gaps"
    assert faults(False) > 20 * PAGES
