"""A power cut costs nothing: all is on the disk before what it replaces goes."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import REVISION, FakeHub, serve
from training_steps import three_stages, write_clip

from depthcrafter_cli import disk
from depthcrafter_cli.models.download import pull
from depthcrafter_cli.models.registry import NANO, HubFile

Version = tuple[int, int, int, int]


class DiskOrder:
    """Hears what a process asks of the disk below a folder, and judges the order.

    A file must be synced as it is when it gets its final name, and the folder that holds the name
    before anything is removed and before all is done; so must the folders above it, if new.
    Windows has no way to sync a folder: its file system keeps the order of names by itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.published: list[Path] = []
        self._synced: set[Version] = set()
        self._open_names: set[tuple[int, int]] = set()
        self._new_folders: list[Path] = []

    def fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._synced.add(_version(status))
        here = (status.st_dev, status.st_ino)
        self._open_names.discard(here)
        self._new_folders = [
            path
            for path in self._new_folders
            if path.parent.exists() and _number(path.parent) != here
        ]

    def mkdir(self, path: Path, *_mode: object) -> None:
        if not disk.WINDOWS and not path.exists():
            self._new_folders.append(path)

    def replace(self, source: Path, target: Path) -> None:
        files = [path for path in (source, *source.rglob("*")) if path.is_file()]
        late = [path for path in files if _version(path.stat()) not in self._synced]
        assert not late, f"{target} gets its name before {late} are synced"
        self.published.append(target)
        if not disk.WINDOWS:
            self._open_names.add(_number(target.parent))

    def remove(self, path: Path) -> None:
        mine = path.name.endswith((".lock", "-part")) or "-part" in str(path.parent)
        assert mine or not self._open_names, f"{path} goes before {self.published[-1]} is synced"

    def finish(self, *names: str) -> None:
        assert not self._open_names
        above = {folder for path in self.published for folder in path.parents}
        assert not above.intersection(self._new_folders)
        assert {path.name for path in self.published} >= set(names)


def _number(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _version(status: os.stat_result) -> Version:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@pytest.fixture
def order(tmp_path, monkeypatch) -> Iterator[DiskOrder]:
    heard = DiskOrder(tmp_path)

    def hear(name: str, judge: Callable[..., None]) -> None:
        real = getattr(os, name)

        def called(*paths, **more):
            whole = all(isinstance(path, (str, Path)) for path in paths)
            if name == "fsync":
                judge(*paths)
            elif name == "mkdir":
                judge(Path(paths[0]))
            elif whole and not more and Path(paths[0]).is_relative_to(tmp_path):
                judge(*map(Path, paths))
            return real(*paths, **more)

        monkeypatch.setattr(os, name, called)

    for name in ("replace", "rename"):
        hear(name, heard.replace)
    for name in ("unlink", "remove", "rmdir"):
        hear(name, heard.remove)
    hear("fsync", heard.fsync)
    hear("mkdir", heard.mkdir)
    yield heard


def test_a_run_removes_its_state_after_its_results_are_on_the_disk(
    cli, clip, options, tmp_path, order
):
    outputs = ["--out", tmp_path / "d.npz", "--out", tmp_path / "d.mp4"]
    pictures = ["--out", tmp_path / "new", "--out", tmp_path / "there" / "p_%d.png"]
    (tmp_path / "there").mkdir()
    for more in ([], ["--overwrite"]):
        done = cli("run", clip, *outputs, *pictures, *options, *more)
        assert done.code == 0, done.err
        order.finish("d.npz", "d.mp4", "d.npz.json", "p_15.png")
    order.finish("new", "depth_00015.png")  # the second time, into the folder of the first
    longer = [*options, "--overwrite", "--max-frames", 9]
    assert cli("run", clip, *pictures, *longer).code == 0
    assert len(list((tmp_path / "there").iterdir())) == 9
    order.finish()


def test_a_pulled_model_is_on_the_disk(tmp_path, order):
    files = {"unet/a.safetensors": bytes(5000), "unet/config.json": b"{}"}
    sources = tuple(HubFile("lab/tiny", REVISION, name, name) for name in files)
    spec = replace(NANO, name="tiny", sources=sources)
    with serve(FakeHub({"lab/tiny": files})) as hub:
        for _ in range(2):
            pull(spec, tmp_path, endpoint=hub.address)
            (tmp_path / "tiny" / "unet" / "config.json").write_bytes(b"[]")
    order.finish("a.safetensors", "config.json", "depthcrafter.json")


@pytest.mark.slow
def test_a_trained_model_is_on_the_disk(cli, tiny_folder, tmp_path, order):
    recipe = tmp_path / "recipe.toml"
    write_clip(tmp_path / "clips" / "a", 0)
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 1))
    out, work = tmp_path / "new" / "model", tmp_path / "work"
    done = cli("train", recipe, "--out", out, "--work-dir", work, "--device", "cpu", "--quiet")
    assert done.code == 0, done.err
    order.finish("model", "after-1")


def test_what_a_batch_makes_is_on_the_disk_with_its_folders(cli, clip, options, tmp_path, order):
    command = ["batch", clip, "--out", tmp_path / "new" / "out", "--format", "npz", *options]
    done = cli(*command, "--work-dir", tmp_path / "new" / "state", "--format", "png")
    assert done.code == 0, done.err
    order.finish("clip.npz", "clip.npz.json")
