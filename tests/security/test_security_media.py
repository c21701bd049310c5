"""Videos and pictures from a stranger: which kinds are opened, and that nothing waits for ever."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from pipes import make_pipe

import pytest
from clips import ffmpeg, make_clip, picture
from PIL import Image

from depthcrafter_cli import disk
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import count_frames, probe

PAL = ("-s", "720x576", "-pix_fmt", "yuv420p")
VIDEOS: dict[str, tuple[str, ...]] = {
    "a.mp4": (), "a.mov": ("-c:v", "prores"), "a.3gp": (), "a.mkv": ("-c:v", "ffv1"), "a.webm": (),
    "a.avi": (), "a.ts": (), "a.m2ts": (), "a.mpg": (), "a.vob": (), "a.m2v": (), "a.flv": (),
    "a.nut": (), "a.ogv": (), "a.wmv": (), "a.asf": (), "a.wtv": (), "a.mxf": (), "a.gif": (),
    "a.apng": (), "a.y4m": (), "a.h264": (), "a.hevc": (), "a.ivf": (), "a.mjpeg": (), "a.rm": (),
    "a.swf": (), "a.dv": PAL, "a.gxf": ("-c:v", "mpeg2video", *PAL),
    "a.obu": ("-c:v", "libaom-av1", "-cpu-used", "8"), "a.m4v": (), "a.f4v": (), "a.drc": (),
}  # fmt: skip
PICTURES = ["a.exr", "a.dpx", "a.tga", "a.jp2", "a.ppm", "a.pfm", "a.sgi", "a.avif"]
SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=176x144:rate=25:duration=0.24")


def made(path: Path, *options: str) -> Path:
    try:
        ffmpeg(*SOURCE, *options, path)
    except subprocess.CalledProcessError:
        pytest.skip(f"this FFmpeg writes no {path.suffix}")
    return path


@pytest.mark.parametrize("name", VIDEOS)
def test_every_common_kind_of_video_is_opened(tmp_path, name):
    assert count_frames(made(tmp_path / name, *VIDEOS[name])) >= 5


@pytest.mark.parametrize("name", PICTURES)
def test_a_single_picture_of_another_kind_is_opened(tmp_path, name):
    assert count_frames(made(tmp_path / name, "-frames:v", "1", "-update", "1")) == 1


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile other.ts\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nsize: 720x576\n"
    "id: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
    "text": "\x1b[31mANSI art\x1b[0m\n" * 200,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".ans", ".idx", ".m3u8", ".sdp"])
def test_a_file_that_names_others_is_refused_before_they_are_opened(tmp_path, kind, suffix):
    make_pipe(tmp_path / "other.ts")  # whoever opens it waits for ever
    make_pipe(tmp_path / "film.sub")
    path = tmp_path / f"film{suffix}"
    path.write_text(PLAYLISTS[kind])
    before = time.monotonic()
    with pytest.raises(InputError, match="cannot be read as a video"):
        probe(path)
    assert time.monotonic() - before < 15  # the time limit's signal ends FFmpeg's wait as well


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["a.mp4", "a.png", "a.tif"])
def test_what_is_no_regular_file_is_refused_and_nothing_waits(tmp_path, name):
    make_pipe(tmp_path / name)
    (tmp_path / f"link_{name}").symlink_to(tmp_path / name)
    (tmp_path / f"zero_{name}").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / f"socket_{name}"))
        for path in tmp_path.iterdir():
            with pytest.raises(InputError, match="expected a regular file"):
                probe(path)


@pytest.mark.timeout(20)
def test_a_pipe_among_the_pictures_of_a_folder_is_refused(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    make_pipe(tmp_path / "1.png")
    for path in (tmp_path, tmp_path / "%d.png"):
        with pytest.raises(InputError, match=r"1\.png is a pipe"):
            probe(path)


def test_a_batch_goes_on_past_what_is_no_video(tmp_path, cli, options):
    inputs = tmp_path / "in"
    inputs.mkdir()
    make_clip(inputs / "a.mp4", frames=2)
    (inputs / "b.mp4").write_text(PLAYLISTS["concat"])
    make_pipe(inputs / "c.mp4")
    (inputs / "d").mkdir()
    make_pipe(inputs / "d" / "0.png")
    (inputs / "e.mp4").mkdir()
    ended = cli("batch", inputs, "--out", tmp_path / "out", *options, "--format", "npz", "--quiet")
    assert ended.code == 7
    assert [path.name for path in (tmp_path / "out").rglob("*.npz")] == ["a.npz"]


@pytest.fixture
def interpreters(tmp_path, monkeypatch) -> Path:
    """Stand-ins for the programs that Pillow starts; the file to which they write their names."""
    log, programs = tmp_path / "called", tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin32c", "gswin64c", "djpeg", "cjpeg", "ppmtogif"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $@" >> {log}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return log


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.skipif(disk.WINDOWS, reason="the traps are scripts of a POSIX shell")
def test_postscript_called_png_starts_no_interpreter(tmp_path, interpreters):
    path = tmp_path / "x.png"
    path.write_bytes(POSTSCRIPT)
    # In a process of its own: Pillow remembers whether it found Ghostscript.
    pillow = "from PIL import Image; import sys; Image.open(sys.argv[1]).load()"
    subprocess.run([sys.executable, "-c", pillow, path], env=dict(os.environ), capture_output=True)
    assert interpreters.read_text().startswith("gs "), "the trap does not spring"
    interpreters.unlink()
    ours = "from pathlib import Path; from depthcrafter_cli.media.reader import probe; import sys\n"
    ours += "probe(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", ours, path], env=dict(os.environ), capture_output=True, text=True
    )
    assert "InputError" in done.stderr and not interpreters.exists()


@pytest.mark.parametrize("kind", ["PCX", "ICO", "DDS", "TGA", "GIF", "JPEG2000", "SGI"])
def test_other_parsers_of_pictures_stay_closed(tmp_path, kind):
    path = tmp_path / "x.png"
    Image.fromarray(picture(0)).save(path, format=kind)
    with pytest.raises(InputError, match="cannot be read as an image"):
        probe(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "MPO", "TIFF", "BMP", "WEBP"])
def test_common_pictures_are_opened_whatever_their_suffix(tmp_path, kind):
    path = tmp_path / "x.png"
    Image.fromarray(picture(0)).save(path, format=kind)
    assert count_frames(path) == 1
