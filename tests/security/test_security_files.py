"""What another user of a shared folder can plant: links, pipes and folders where a run writes."""

import struct
import zlib
from pathlib import Path
from pipes import make_pipe

import pytest
from clips import make_clip, picture
from PIL import Image

from depthcrafter_cli.disk import part_path
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import probe

PRECIOUS = b"precious"
OUTPUTS = ("d.mp4", "d.npz", "d")


def planted(folder: Path) -> list[Path]:
    """Where a run writes before its outputs have their names, and where versions before did."""
    outputs = [folder / name for name in OUTPUTS]
    record = folder / "d.mp4.json"
    older = [path.with_name(f"{path.stem}.partial{path.suffix}") for path in (*outputs, record)]
    return [*map(part_path, (*outputs, record)), *older]


def link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def hard_link(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


def dangling(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("created"))


def pipe(place: Path, _victim: Path) -> None:
    make_pipe(place)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plant", [link, hard_link, dangling, pipe])
def test_nothing_is_written_through_what_others_planted(cli, options, tmp_path, plant):
    clip = make_clip(tmp_path / "clip.mp4", frames=2)
    victim, shared = tmp_path / "victim", tmp_path / "shared"
    victim.write_bytes(PRECIOUS)
    shared.mkdir()
    for place in planted(shared):
        plant(place, victim)
    outputs = [part for name in OUTPUTS for part in ("--out", shared / name)]
    done = cli("run", clip, *outputs, *options, "--quiet")
    assert done.code == 0, done.err
    assert victim.read_bytes() == PRECIOUS and not (tmp_path / "created").exists()
    assert not any((shared / name).is_symlink() for name in OUTPUTS)
    assert len(list((shared / "d").glob("*.png"))) == 2


def test_a_folder_of_state_that_leads_elsewhere_is_not_emptied(cli, clip, options, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep.txt").write_bytes(PRECIOUS)
    (tmp_path / "d.npz.work").symlink_to(elsewhere)
    done = cli("run", clip, "--out", tmp_path / "d.npz", *options, "--quiet")
    assert "Traceback" not in done.err and "unexpected" not in done.err
    assert [path.name for path in elsewhere.iterdir()] == ["keep.txt"]


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def test_pictures_that_unpack_to_gigabytes_are_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(0)).save(path)
    data = path.read_bytes()
    bomb = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8 << 20)))
    path.write_bytes(data[:33] + bomb + data[33:])
    with pytest.raises(InputError, match=r"a\.png cannot be read as an image"):
        probe(path)
    size = struct.pack("<iiHHIIiiII", 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
    bitmap = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<I", 40) + size
    path.write_bytes(bitmap)
    with pytest.raises(InputError, match="decompression bomb"):
        probe(path)
