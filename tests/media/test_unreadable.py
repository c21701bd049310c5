"""A disk or a share that stops answering is told apart from a damaged video."""

import errno
import os
import shutil
import subprocess
import sys

import pytest
from clips import make_clip, picture
from PIL import Image
from processes import ENVIRONMENT

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.types import Size

# read() of a file called FAILING_NAME fails with FAILING_ERRNO from byte FAILING_AT on, as often
# as FAILING_TIMES.
FAILING_READ = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static long failed;
ssize_t read(int file, void *to, size_t count) {
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    char link[64], name[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, name, sizeof name - 1) > 0 && strstr(name, getenv("FAILING_NAME"))) {
        off_t at = lseek(file, 0, SEEK_CUR), bad = atol(getenv("FAILING_AT"));
        if (failed < atol(getenv("FAILING_TIMES"))) {
            if (at >= bad) { failed++; errno = atoi(getenv("FAILING_ERRNO")); return -1; }
            if (at + (off_t)count > bad) count = bad - at;
        }
    }
    return real(file, to, count);
}
"""
FASTSTART = {"movflags": "faststart"}
READ = """
import sys
from pathlib import Path
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.batches.task import failure
try:
    print(sum(1 for _ in read_frames(Path(sys.argv[1]), Size(64, 64), warn=print)), "frames")
except InputError as error:
    print(error, failure(error).passing)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that makes read() fail."""
    place = tmp_path_factory.mktemp("shim")
    (place / "read.c").write_text(FAILING_READ)
    command = ["cc", "-shared", "-fPIC", "-o", place / "read.so", place / "read.c", "-ldl"]
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler")
    subprocess.run(command, check=True)
    return place / "read.so"


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Videos that are much longer than what is read ahead of their first pictures."""
    folder = tmp_path_factory.mktemp("noise")
    for name, index_first in (("noise.mp4", {}), ("noise.mkv", {}), ("faststart.mp4", FASTSTART)):
        make_clip(
            folder / name, frames=200, size=Size(512, 512), options={"crf": "1"},
            container_options=index_first,
        )  # fmt: skip
    return folder


def read_failing(shim, clip, at: int, number: int, times: int = 1 << 30) -> str:
    environment = {
        **ENVIRONMENT,
        "LD_PRELOAD": str(shim),
        "FAILING_NAME": clip.name,
        "FAILING_AT": str(at),
        "FAILING_ERRNO": str(number),
        "FAILING_TIMES": str(times),
    }
    command = [sys.executable, "-c", READ, str(clip)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("name", ["noise.mp4", "noise.mkv"])
def test_a_video_that_cannot_be_read_further_may_be_tried_again(shim, noise, name, number):
    told = read_failing(shim, noise / name, 100_000, number)
    assert f"cannot be read any further ({os.strerror(number)})" in told and "True" in told, told


def test_where_reading_broke_off_once_what_was_decoded_is_kept(shim, noise):
    told = read_failing(shim, noise / "faststart.mp4", 100_000, errno.EIO, times=1)
    # Threads are read again from where it broke off; one alone goes on behind the packet it missed.
    assert "damaged" in told and int(told.split()[-2]) in (199, 200), told


def test_an_image_that_is_gone_does_not_end_the_result_before_it(tmp_path):
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    told = []
    frames = read_frames(tmp_path, Size(48, 64), warn=told.append)
    next(frames)
    (tmp_path / "2.png").unlink()
    with pytest.raises(InputError, match=r"2\.png cannot be read"):
        list(frames)
    assert told == []
