"""How files grow, are named and replaced: nobody else's file is touched, on any disk."""

import errno
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from limits import file_size_limit

from depthcrafter_cli import disk
from depthcrafter_cli.disk import derived, part_path, replace, user_folder, write_whole

KEPT = b"a night's render"
ELSEWHERE = pytest.mark.skipif(disk.WINDOWS, reason="Windows waits, and counts names otherwise")


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def refusing(monkeypatch, times: int, error: OSError) -> list[Path]:
    """Lets the first ``times`` replacements fail as the operating system would; the tries."""
    tries: list[Path] = []
    real = os.replace

    def held(source, target, **more):
        tries.append(Path(target))
        if len(tries) <= times:
            raise error
        real(source, target, **more)

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    return tries


def sharing_violation(winerror: int) -> PermissionError:
    error = PermissionError(errno.EACCES, "The file is used by another process")
    error.winerror = winerror
    return error


@pytest.mark.parametrize("winerror", [5, 32])
def test_a_file_that_another_program_holds_for_a_moment_is_replaced(
    tmp_path, monkeypatch, winerror
):
    path = tmp_path / "window"
    write_whole(path, b"old")
    tries = refusing(monkeypatch, 2, sharing_violation(winerror))
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and len(tries) == 3
    assert names_in(tmp_path) == ["window"]


def test_windows_may_refuse_without_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "WINDOWS", True)
    refusing(monkeypatch, 3, PermissionError(errno.EACCES, "denied"))
    write_whole(tmp_path / "window", b"new")
    assert (tmp_path / "window").read_bytes() == b"new"


def test_a_refusal_that_lasts_is_raised_and_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "window"
    write_whole(path, b"old")
    monkeypatch.setattr(disk, "_PATIENCE", 0.05)
    refusing(monkeypatch, 10**9, sharing_violation(32))
    with pytest.raises(PermissionError):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and names_in(tmp_path) == ["window"]


@ELSEWHERE
def test_elsewhere_a_refusal_is_final(tmp_path, monkeypatch):
    tries = refusing(monkeypatch, 1, PermissionError(errno.EACCES, "denied"))
    with pytest.raises(PermissionError):
        write_whole(tmp_path / "window", b"new")
    assert len(tries) == 1


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_what_a_link_leads_to_is_not_written_to(tmp_path, link):
    victim = tmp_path / "victim"
    victim.write_bytes(KEPT)
    part = part_path(tmp_path / "depth")
    link(victim, part)
    write_whole(tmp_path / "depth", b"new")
    assert victim.read_bytes() == KEPT and (tmp_path / "depth").read_bytes() == b"new"
    assert not (tmp_path / "depth").is_symlink() and not part.exists()


def test_what_appears_where_a_file_is_to_grow_is_not_written_to(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(KEPT)
    real = disk.new_part

    def overtaken(path: Path) -> Path:
        part = real(path)
        part.symlink_to(victim)
        return part

    monkeypatch.setattr(disk, "new_part", overtaken)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "depth", b"new")
    assert victim.read_bytes() == KEPT


@ELSEWHERE
@pytest.mark.parametrize("length", [1, 100, 250, 251, 255])
@pytest.mark.parametrize("letter", ["a", "é", "日", "😀"])
def test_derived_names_are_never_longer_than_the_disk_allows(tmp_path, length, letter):
    name = letter * (length // len(letter.encode())) or letter
    path = tmp_path / name
    path.touch()
    made = [derived(path, ".json"), derived(path, ".work"), derived(path, ".lock", prefix=".")]
    made.append(part_path(made[0]))
    for other in made:
        other.touch()
    assert len(set(made)) == 4 and derived(path, ".json") == made[0]
    if length + len(".json") <= 255:
        assert made[0].name == f"{name}.json"


def test_long_names_that_differ_at_their_end_stay_different(tmp_path):
    one, other = (derived(tmp_path / f"{'x' * 253}{end}", ".work") for end in "ab")
    assert one != other


def test_on_windows_the_whole_path_of_a_derived_name_is_short_enough(monkeypatch):
    monkeypatch.setattr(disk, "WINDOWS", True)
    for length in (150, 190, 215):
        folder = Path("/" + "d" * (length - 1))
        for letter in ("a", "日", "😀"):
            work = derived(folder / (letter * 40), ".work")
            for path in (work, part_path(work / "window.safetensors"), part_path(work)):
                assert len(str(path).encode("utf-16-le")) // 2 <= 259
    short = Path("/films/depth.mp4")
    assert derived(short, ".work").name == "depth.mp4.work"


@pytest.mark.parametrize("enabled", [0, 1])
def test_windows_may_be_set_up_for_longer_paths(monkeypatch, enabled):
    registry = SimpleNamespace(
        HKEY_LOCAL_MACHINE=0,
        OpenKey=lambda _root, _place: nullcontext(),
        QueryValueEx=lambda _key, name: (enabled if name == "LongPathsEnabled" else 0, 4),
    )
    monkeypatch.setitem(sys.modules, "winreg", registry)
    monkeypatch.setattr(disk, "WINDOWS", True)
    path = Path("/" + "d" * 200) / ("n" * 100)
    assert (derived(path, ".work").name == f"{path.name}.work") == bool(enabled)
    assert bool(disk.name_problem(path)) != bool(enabled)


def test_a_folder_that_is_replaced_whole_is_removed_with_what_is_in_it_but_no_links_followed(
    tmp_path,
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "film").write_bytes(KEPT)
    left = part_path(tmp_path / "model")
    left.mkdir()
    (left / "link").symlink_to(outside)
    assert disk.new_part(tmp_path / "model") == left
    assert not left.exists() and (outside / "film").read_bytes() == KEPT
    left.symlink_to(outside)
    disk.new_part(tmp_path / "model")
    assert not left.is_symlink() and (outside / "film").read_bytes() == KEPT


def test_replace_moves_whole_folders(tmp_path):
    (tmp_path / "a").mkdir()
    replace(tmp_path / "a", tmp_path / "b")
    assert names_in(tmp_path) == ["b"]


def test_what_a_full_disk_refuses_is_said_by_the_write_and_never_by_a_later_seek(tmp_path):
    with file_size_limit(100), disk.NewFile(tmp_path / "depth") as file:
        assert file.write(bytes(60)) == 60
        with pytest.raises(OSError, match="File too large"):
            file.write(bytes(60))
        file.seek(0)
        assert file.write(memoryview(np.arange(4.0))) == 32  # all its bytes, not its length
    with pytest.raises(FileExistsError):
        disk.NewFile(tmp_path / "depth")


def test_the_tests_write_nothing_among_the_users_data():
    assert Path(tempfile.gettempdir()) in user_folder("data").parents
