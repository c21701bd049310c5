"""Sound and timecode of a video go on to the video of its depth."""

import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import OpenEXR
import pytest
from clips import ffmpeg

from depthcrafter_cli.media.reader import carried_by
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.shots.timecode import later

RATE = "24000/1001"
TONE = "aevalsrc=sin(2*PI*t*(400+300*t)):s=48000:d=3"  # a rising tone: each moment is another one


def film(path, *codec):
    """Three seconds with a rising tone; the first picture has the timecode 01:00:00:00."""
    picture = f"testsrc=s=64x64:r={RATE}:d=3"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", TONE, "-timecode", "01:00:00:00",
           "-c:v", "libx264", "-bf", "2", "-g", "12", *codec, path)  # fmt: skip
    return path


def heard(path):
    """Samples at 48 kHz, on the clock of the first picture: as an editor would place them."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        zero = round(float(first.pts * first.time_base) * 48000)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-copyts", "-i", str(path),
               "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-f", "f32le", "-"]  # fmt: skip
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    line = np.frombuffer(raw, np.float32)[zero:]
    return np.pad(line, (0, 4 * 48000 - len(line)))


def late_by(expected, line):
    """By how many samples a part of a line comes later than 96 samples after its beginning."""
    likeness = {
        late: np.corrcoef(expected, line[96 + late :][: len(expected)])[0, 1]
        for late in range(-96, 97)
    }
    late = max(likeness, key=likeness.__getitem__)
    assert likeness[late] > 0.99
    return late


def run(cli, source, out, *options):
    return cli("run", source, "--out", out, "--method", "trivial-constant", *options, "--no-record")


@pytest.mark.parametrize(
    ("name", "codec", "out"),
    [
        ("a.mp4", ["-c:a", "aac"], "d.mp4"),
        ("a.mp4", ["-c:a", "aac"], "d.mkv"),
        ("a.mov", ["-c:a", "pcm_s16le"], "d.mov"),
        ("a.ts", ["-c:a", "aac"], "d.mov"),
        ("a.mkv", ["-c:a", "libopus"], "d.mp4"),
        ("a.mkv", ["-c:a", "flac"], "d.mkv"),
    ],
)
@pytest.mark.parametrize("part", [(), ("--start", "2.1", "--end", "2.6")], ids=["whole", "part"])
def test_sound_is_heard_at_the_same_pictures(cli, tmp_path, name, codec, out, part):
    source, made = film(tmp_path / name, *codec), tmp_path / out
    done = run(cli, source, made, *part)
    assert done.code == 0 and "without the sound" not in done.err, done.err
    before, after = heard(source), heard(made)
    rate = Fraction(24000, 1001)
    first = Fraction(51) / rate if part else Fraction(0)
    length = 0.45 if part else 2.9
    # The end, where sound would have drifted most; a coder starts from packets before.
    begin, quiet = round(float(first) * 48000), round((length - 0.35) * 48000)
    expected = before[begin + quiet : begin + round(length * 48000)]
    late = late_by(expected, after[quiet - 96 :])
    assert abs(late) <= 48 * (".mkv" in name + out)  # whose clock counts milliseconds
    assert not part or not after[round(0.6 * 48000) :].any()
    with av.open(str(made)) as container:
        picture = next(container.decode(video=0))
        assert picture.pts == 0


def begun_late(path, by, *sound):
    """Two seconds of pictures that begin late, beside sound that does not where there is any."""
    plain = film(path.with_stem("plain"), "-t", "2", *(sound or ["-an"]))
    mapped = ("-i", plain, "-map", "0:v", "-map", "1:a") if sound else ()
    late = ("-itsoffset", by, "-i", plain, *mapped, "-c", "copy")
    ffmpeg(*late, path)
    return path


@pytest.mark.parametrize(
    ("name", "sound", "by", "offset"),
    [
        ("a.mp4", ["-c:a", "aac"], 0.5, Fraction(1, 2)),
        ("a.mov", [], 0.5, Fraction(1, 2)),
        ("a.mkv", ["-c:a", "flac"], 0.5, Fraction(1, 2)),
        ("a.ts", ["-c:a", "mp2"], 0.5, Fraction(1, 2)),
        ("a.mkv", [], 0.5, 0),  # as all players show it
        ("a.ts", [], 0.5, 0),
        ("a.mp4", ["-c:a", "aac"], 0.03, 0),
        ("part.mp4", [], 3600, 0),
    ],
)
def test_a_video_tells_how_late_it_begins(tmp_path, name, sound, by, offset):
    path = begun_late(tmp_path / name, by, *sound)
    assert abs(carried_by(path, ReadOptions()).offset - offset) <= Fraction(3, 100)
    part = ReadOptions(start=Fraction(1))
    assert carried_by(path, part).offset == 0


def test_depth_begins_as_late_as_its_source(cli, tmp_path):
    source = begun_late(tmp_path / "a.mp4", 0.5, "-c:a", "aac")
    (tmp_path / "cuts.txt").write_text("20\n")
    outs = [tmp_path / name for name in ("d.mp4", "d.mkv", "gray.mov")]
    more = [part for out in outs[1:] for part in ("--out", out)]
    done = run(cli, source, outs[0], *more, "--cuts", tmp_path / "cuts.txt")
    assert done.code == 0, done.err
    for path in (source, *outs):
        with av.open(str(path)) as container:
            (pictures,), (sound,) = container.streams.video, container.streams.audio
            assert abs(pictures.start_time * pictures.time_base - Fraction(1, 2)) < 0.001
            assert sound.start_time * sound.time_base < 0.03  # a coder begins with nothing
            assert abs(container.duration / av.time_base - 2.5) < 0.03
            times = [each.time for each in container.decode(video=0)]
            assert np.allclose(np.diff(times), 1001 / 24000, atol=0.001) and len(times) == 48
        late = late_by(heard(source)[40_000:60_000], heard(path)[40_000 - 96 :])
        assert abs(late) <= 48 * (path.suffix == ".mkv")


def test_sound_is_left_out_where_that_is_asked_or_where_nothing_holds_it(cli, tmp_path):
    source = film(tmp_path / "a.mkv", "-c:a", "libvorbis")
    done = run(cli, source, tmp_path / "none.mkv", "--audio", "none")
    assert done.code == 0, done.err
    told = run(cli, source, tmp_path / "d.mov")
    assert told.code == 0 and "without the sound of" in told.err and "vorbis" in told.err
    for out in ("none.mkv", "d.mov"):
        with av.open(str(tmp_path / out)) as container:
            assert not container.streams.audio


@pytest.mark.parametrize("codec", [["-c:a", "pcm_s24le"], ["-an"]], ids=["samples", "none"])
def test_a_file_of_sound_that_would_be_empty_is_refused_before_any_work(cli, tmp_path, codec):
    source = film(tmp_path / "a.mkv", *codec)
    told = run(cli, source, tmp_path / "d.m4a")
    assert told.code == 6 and "would be empty" in told.err
    assert run(cli, source, tmp_path / "d.npz", "--keep-work").code == 0
    told = cli("finish", tmp_path / "d.npz.work", "--out", tmp_path / "d.m4a")
    assert told.code == 6 and not (tmp_path / "d.m4a").exists()


@pytest.mark.parametrize(("codec", "named"), [("pcm_s24le", "pcm_s24le"), ("ac3", "unknown")])
def test_sound_that_players_would_not_know_is_left_out_and_told(cli, tmp_path, codec, named):
    source = film(tmp_path / "a.mkv", "-c:a", codec)
    source.write_bytes(source.read_bytes().replace(b"A_AC3", b"A_XYZ"))
    told = run(cli, source, tmp_path / "d.mp4")
    assert told.code == 0 and f"a.mkv ({named})" in told.err, told.err


def test_sound_of_a_kept_run_needs_its_source_and_says_so(cli, tmp_path):
    source = film(tmp_path / "a.mp4", "-c:a", "aac")
    assert run(cli, source, tmp_path / "d.npz", "--keep-work").code == 0
    work = tmp_path / "d.npz.work"
    assert cli("finish", work, "--out", tmp_path / "d.mp4", "--no-record").code == 0
    with av.open(str(tmp_path / "d.mp4")) as container:
        assert container.streams.audio
    source.unlink()
    done = cli("finish", work, "--out", tmp_path / "e.mp4", "--no-record")
    assert done.code == 0 and "Sound and timecode are left out" in done.err


@pytest.mark.parametrize("out", ["d.mov", "d.mp4", "d.mkv"])
def test_the_timecode_is_that_of_the_first_frame_that_is_read(cli, tmp_path, out):
    source = film(tmp_path / "a.mov", "-c:a", "aac")
    assert run(cli, source, tmp_path / out, "--start", "1.5").code == 0
    with av.open(str(tmp_path / out)) as container:
        (stream,) = container.streams.video
        told = {**container.metadata, **stream.metadata}
    assert {name.lower(): text for name, text in told.items()}["timecode"] == "01:00:01:12"


def test_each_image_of_openexr_has_its_timecode(cli, tmp_path):
    source = film(tmp_path / "a.mov", "-c:a", "aac")
    done = run(cli, source, tmp_path / "d.%04d.exr", "--start", "1.5", "--max-frames", "14")
    assert done.code == 0, done.err
    for number, frame in [(0, (1, 12)), (13, (2, 1))]:
        with OpenEXR.File(str(tmp_path / f"d.{number:04}.exr")) as image:
            code = image.header()["timeCode"]
        assert (code.hours, code.minutes, code.seconds, code.frame) == (1, 0, *frame)
        assert not code.dropFrame


def test_each_shot_has_its_own_part_of_the_sound_and_its_timecode(cli, tmp_path):
    source = film(tmp_path / "a.mov", "-c:a", "pcm_s16le")
    (tmp_path / "cuts.txt").write_text("24\n")
    cut = ("--per-shot", "--cuts", tmp_path / "cuts.txt")
    done = run(cli, source, tmp_path / "d.mov", *cut)
    assert done.code == 0, done.err
    before, at = heard(source), round(24 * 1001 / 24000 * 48000)
    for index, (start, stop) in enumerate([(0, at), (at, at + 90_000)]):
        part, out = before[start:stop], tmp_path / f"d_shot{index:04}.mov"
        assert np.abs(heard(out)[2000 : stop - start] - part[2000:]).max() < 0.01
        with av.open(str(out)) as container:
            told = container.streams.video[0].metadata["timecode"]
        assert told == f"01:00:0{index}:00"
    assert not heard(tmp_path / "d_shot0000.mov")[at + 2000 :].any()


def test_a_timecode_counts_on_and_drops_as_it_did():
    ntsc = Fraction(30000, 1001)
    assert later("01:00:00:00", Fraction(36), Fraction(24000, 1001)) == "01:00:01:12"
    assert later("00:00:59;29", Fraction(1), ntsc) == "00:01:00;02"
    assert later("00:09:59;29", Fraction(1), ntsc) == "00:10:00;00"
    assert later("00:59:59;29", Fraction(1), ntsc) == "01:00:00;00"
    assert later("", Fraction(1), ntsc) == later("soon", Fraction(1), ntsc) == ""
