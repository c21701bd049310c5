"""What makes PyTorch faster on a CPU."""

import os
import platform
import subprocess
import sys

import pytest

CHILD = """
import resource, sys, torch
from depthcrafter_cli.models.cpu import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(5_000_000) for _ in range(8)]
    del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    keep_freed_memory()
print([faults() for _ in range(10)][-1])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_freed_is_not_mapped_anew():
    # With a threshold of its own glibc does not raise it by what happened to be freed.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    found = {
        way: int(subprocess.run(
            [sys.executable, "-c", CHILD, way],
            capture_output=True, text=True, check=True, env=environment,
        ).stdout)
        for way in ("kept", "given back")
    }  # fmt: skip
    assert found["kept"] < found["given back"] / 4
