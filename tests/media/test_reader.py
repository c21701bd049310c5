"""Reading videos: equality with the reference's reader, time, and damage."""

import gc
import hashlib
import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import SMALL, ffmpeg, index_of, make_absurd_png, make_audio, make_clip, picture
from PIL import Image

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.reader import count_frames, probe, read_frames
from depthcrafter_cli.media.resize import model_size, reference_stride
from depthcrafter_cli.media.selection import ReadOptions, selected_rate
from depthcrafter_cli.types import Size

REFERENCE = Path(__file__).parents[1] / "data" / "read_frames"
CASES = json.loads((REFERENCE / "cases.json").read_text())
VARIABLE = [Fraction(k, 12000) for k in (0, 500, 1000, 1600, 4000, 4001, 9000, 9500)]


def reference_options(case, info):
    fps = info.rate if case["target_fps"] < 0 else Fraction(case["target_fps"])
    limit = None if case["process_length"] < 0 else case["process_length"]
    return ReadOptions(stride=reference_stride(info.rate, fps), max_frames=limit)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_frames_equal_the_reference_bit_for_bit(number):
    case = CASES[number]
    path = REFERENCE / case["video"]
    info = probe(path)
    size = model_size(info.size, case["max_res"])
    frames = [frame.rgb for frame in read_frames(path, size, reference_options(case, info))]
    with np.load(REFERENCE / "first_frames.npz") as first:
        np.testing.assert_array_equal(frames[0], first[str(number)])
    assert [len(frames), *frames[0].shape] == case["shape"]
    assert hashlib.sha256(np.stack(frames).tobytes()).hexdigest() == case["sha256"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".ts", ".avi"])
def test_every_frame_of_every_container(tmp_path, suffix):
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    path = make_clip(tmp_path / f"clip{suffix}", frames=12, rate=25, codec=codec)
    info = probe(path)
    assert (info.size, info.rate, info.frame_count) == (SMALL, 25, 12)
    frames = list(read_frames(path, SMALL))
    assert [index_of(frame.rgb) for frame in frames] == list(range(12))
    assert [frame.index for frame in frames] == list(range(12))
    tolerance = Fraction(1, 1000) if suffix in (".mkv", ".webm") else Fraction(1, 90000)
    assert all(abs(frame.time - Fraction(frame.index, 25)) <= tolerance for frame in frames)


def test_variable_rate_keeps_exact_times(tmp_path):
    path = make_clip(tmp_path / "vfr.mp4", times=VARIABLE)
    assert [frame.time for frame in read_frames(path, SMALL)] == VARIABLE


def complaints_of(path) -> list[str]:
    told = []
    assert len(list(read_frames(path, SMALL, warn=told.append))) == probe(path).frame_count
    return told


def test_the_last_frames_after_a_pause_keep_their_times(tmp_path):
    times = [Fraction(k, 24) for k in range(48)] + [Fraction(12), 12 + Fraction(1, 24)]
    path = make_clip(tmp_path / "pause.mp4", times=times, options={"bf": "3"})
    assert [frame.time for frame in read_frames(path, SMALL)] == times


def test_a_last_picture_that_stays_is_no_damage(tmp_path):
    pictures = [Image.fromarray(picture(index)) for index in range(4)]
    path = tmp_path / "held.gif"
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=[100, 100, 100, 3000]
    )
    told = []
    assert len(list(read_frames(path, SMALL, warn=told.append))) == 4 and not told


def test_a_part_of_a_recording_is_as_long_as_it_is(tmp_path):
    times = [20 + Fraction(k, 24) for k in range(48)]
    assert complaints_of(make_clip(tmp_path / "part.mkv", times=times)) == []


def test_all_fragments_of_an_mp4_are_counted(tmp_path):
    path = tmp_path / "fragments.mp4"
    whole = make_clip(tmp_path / "whole.mp4", frames=100, options={"g": "20"})
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "frag_keyframe", path)
    assert complaints_of(path) == []


def test_fps_of_matroska_equals_fps_of_mp4(tmp_path):
    chosen = {}
    for suffix in (".mp4", ".mkv"):
        path = make_clip(tmp_path / f"clip{suffix}", frames=30, rate=30)
        frames = list(read_frames(path, SMALL, ReadOptions(fps=Fraction(7))))
        assert [frame.time for frame in frames] == [Fraction(k, 7) for k in range(7)]
        chosen[suffix] = [index_of(frame.rgb) for frame in frames]
    assert chosen[".mp4"] == chosen[".mkv"] == [round(k * 30 / 7) for k in range(7)]


def test_fps_above_the_video_is_refused_before_reading(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", rate=24)
    with pytest.raises(UsageError, match=r"`fps` 30.*at most its own 24"):
        read_frames(path, SMALL, ReadOptions(fps=Fraction(30)))
    assert selected_rate(probe(path), ReadOptions(fps=Fraction(10))) == 10
    assert selected_rate(probe(path), ReadOptions(stride=5)) == Fraction(24, 5)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_seek_finds_the_same_frames_as_reading_from_the_start(tmp_path, suffix):
    path = make_clip(tmp_path / f"long{suffix}", frames=150, rate=25, options={"g": "30"})
    whole = list(read_frames(path, SMALL))
    part = list(read_frames(path, SMALL, ReadOptions(start=Fraction(41, 10), end=Fraction(5))))
    expected = [frame for frame in whole if Fraction(41, 10) <= frame.time < 5]
    assert len(part) == 22
    for ours, theirs in zip(part, expected, strict=True):
        np.testing.assert_array_equal(ours.rgb, theirs.rgb)
        assert ours.time == theirs.time - expected[0].time


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(),
        ReadOptions(start=Fraction(1, 2)),
        ReadOptions(end=Fraction(1, 3), stride=3),
        ReadOptions(fps=Fraction(7)),
        ReadOptions(fps=Fraction(7), start=Fraction(1, 4), max_frames=3),
    ],
)
def test_the_count_is_what_is_read(tmp_path, options):
    path = make_clip(tmp_path / "clip.mkv", frames=25)
    assert count_frames(path, options) == len(list(read_frames(path, SMALL, options)))


def test_pixel_aspect_is_applied_to_the_size(tmp_path):
    path = make_clip(tmp_path / "wide.mp4", aspect=Fraction(2))
    assert probe(path).size == Size(48, 128)


@pytest.mark.parametrize(
    ("suffix", "size", "aspect"),
    [
        (".mp4", SMALL, None),
        (".mov", Size(36, 50), Fraction(4, 3)),
        (".mkv", Size(37, 51), None),
    ],
)
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [(), ("-display_hflip",)], ids=["plain", "mirrored"])
def test_every_position_is_shown_as_the_ffmpeg_program_shows_it(
    tmp_path, suffix, size, aspect, turn, mirror
):
    coded = {"codec": "libx264", "pix_fmt": "yuv444p"}
    upright = make_clip(tmp_path / f"upright{suffix}", frames=2, size=size, aspect=aspect, **coded)
    turned, oracle = tmp_path / f"turned{suffix}", tmp_path / "oracle.png"
    ffmpeg("-display_rotation", turn, *mirror, "-i", upright, "-c", "copy", turned)
    shown = probe(turned).size
    scaled = f"scale={shown.width}:{shown.height}:flags=bilinear"
    ffmpeg("-i", turned, "-frames:v", "1", "-vf", scaled, oracle)  # it turns them by default
    wide = Size(size.height, round(size.width * (aspect or 1)))
    assert shown == (Size(wide.width, wide.height) if turn in (90, 270) else wide)
    expected = np.asarray(Image.open(oracle).convert("RGB"))
    ours = next(iter(read_frames(turned, shown)))
    assert np.abs(ours.rgb.astype(int) - expected).max() <= 3  # the program rounds otherwise


def test_interlaced_fields_are_merged(tmp_path):
    def field(number):  # a bar that moves by 8 pixels 50 times a second
        columns = np.arange(160)
        bar = (columns >= 8 * number) & (columns < 8 * number + 40)
        return np.where(bar, 220, 30).astype(np.uint8)[None].repeat(96, axis=0)

    def combing(gray):  # rows of a vertical bar are all equal
        return np.abs(np.diff(gray.astype(int), axis=0)).mean()

    for index in range(8):
        woven = field(2 * index)
        woven[1::2] = field(2 * index + 1)[1::2]
        Image.fromarray(woven).save(tmp_path / f"{index}.png")
    path = tmp_path / "interlaced.mkv"
    codec = ("-vf", "setfield=tff", "-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme")
    ffmpeg("-framerate", "25", "-i", tmp_path / "%d.png", *codec, path)
    frames = list(read_frames(path, Size(96, 160)))
    assert [frame.time for frame in frames] == [Fraction(k, 25) for k in range(8)]
    assert combing(frames[4].rgb[..., 0]) < 0.2 * combing(woven)


def test_pictures_are_freed_as_they_are_read(tmp_path):
    """Those of 8K are 50 MB each: none may wait until Python looks for what refers in circles."""
    clip = make_clip(tmp_path / "a.mp4", frames=30)
    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) is av.VideoFrame for one in gc.get_objects())
        frames = read_frames(clip, Size(64, 64))
        held = [
            sum(type(one) is av.VideoFrame for one in gc.get_objects()) - before
            for frame in frames
            if frame.index % 10 == 9
        ]
    finally:
        gc.enable()
    assert held[2] <= held[0] + 2


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_title_in_another_encoding_is_no_obstacle(tmp_path, suffix):
    plain, titled = make_clip(tmp_path / "plain.mp4", frames=4), tmp_path / f"titled.{suffix}"
    ffmpeg("-i", plain, "-c", "copy", "-metadata", "title=LATIN-1", titled)
    content = titled.read_bytes()
    assert b"LATIN-1" in content
    titled.write_bytes(content.replace(b"LATIN-1", b"\xe9\xffL\xfeN-1"))
    assert count_frames(titled, ReadOptions()) == 4


def test_a_cover_picture_is_no_video(tmp_path):
    sound, cover = make_audio(tmp_path / "sound.m4a"), tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1", cover)
    album = tmp_path / "album.m4a"
    inputs = ("-i", sound, "-i", cover, "-map", "0", "-map", "1", "-c", "copy")
    ffmpeg(*inputs, "-disposition:v:0", "attached_pic", album)
    with pytest.raises(InputError, match="no video stream"):
        probe(album)


def test_a_size_change_midway_is_read_through(tmp_path):
    both = tmp_path / "both.h264"
    with both.open("wb") as joined:
        for number, size in enumerate((SMALL, Size(96, 80))):
            part = make_clip(tmp_path / f"{number}.h264", frames=5, size=size)
            joined.write(part.read_bytes())
    frames = list(read_frames(both, SMALL))
    assert [index_of(frame.rgb) for frame in frames] == [*range(5), *range(5)]
    assert all(a.time < b.time for a, b in pairwise(frames))


@pytest.mark.parametrize("second", [Size(96, 80), Size(64, 160)])
def test_an_interlaced_recording_whose_size_changes_is_read_through(tmp_path, second):
    both = tmp_path / "both.ts"
    options = {"flags": "+ildct+ilme", "x264opts": "tff=1"}
    with both.open("wb") as joined:
        for number, size in enumerate((SMALL, second)):
            path = tmp_path / f"{number}.ts"
            joined.write(make_clip(path, frames=8, size=size, options=options).read_bytes())
    with av.open(str(both)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    frames = list(read_frames(both, SMALL))
    assert [index_of(frame.rgb) for frame in frames] == [*range(8), *range(8)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_file_gives_its_frames_and_one_warning(tmp_path, suffix):
    layout = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    path = make_clip(tmp_path / f"cut{suffix}", frames=120, container_options=layout)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    sentences = []
    frames = list(read_frames(path, SMALL, warn=sentences.append))
    assert 40 < len(frames) < 100
    assert all(index_of(frame.rgb) == round(frame.time * 24) % 40 for frame in frames)
    assert len(sentences) == 1 and f"of 5.0 s ({len(frames)} frames)" in sentences[0]
    assert count_frames(path) == len(frames)


def test_damage_in_the_middle_is_told_and_the_rest_is_read(tmp_path):
    path = make_clip(tmp_path / "rot.mp4", frames=100, options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    sentences = []
    frames = list(read_frames(path, SMALL, warn=sentences.append))
    assert len(frames) > 80 and index_of(frames[-1].rgb) == 99 % 40
    assert len(sentences) == 1 and "corrupt" in sentences[0]


def test_a_sound_file_says_nothing(tmp_path):
    path = make_clip(tmp_path / "sound.mkv", frames=48, audio=True)
    sentences = []
    assert len(list(read_frames(path, SMALL, warn=sentences.append))) == 48
    assert sentences == []


def _text(path):
    path.write_text("This is not a video.\n" * 50)


def _noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _headless(path):
    make_clip(path)
    path.write_bytes(path.read_bytes()[:1000])  # the index of a plain MP4 is at its end


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("missing.mp4", lambda path: None, "There is no"),
        ("empty.mp4", Path.touch, r"0 bytes"),
        ("text.mp4", _text, "cannot be read as a video"),
        ("noise.mp4", _noise, "cannot be read as a video"),
        ("headless.mp4", _headless, "cannot be read as a video"),
        ("sound.mp4", make_audio, r"no video stream \(it holds audio\)"),
        ("folder", Path.mkdir, "There is no image"),
        ("folder.mp4", Path.mkdir, "There is no image"),
        ("missing_%04d.png", lambda path: None, "There is no image"),
        ("text.png", _text, "cannot be read as an image"),
    ],
)
@pytest.mark.parametrize("operation", [probe, count_frames, lambda path: read_frames(path, SMALL)])
def test_bad_input_gets_one_sentence(tmp_path, name, make, says, operation):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=says) as caught:
        operation(path)
    sentence = str(caught.value)
    assert name in sentence and "expected" in sentence and "\n" not in sentence


def test_an_empty_selection_is_an_error(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=24)
    late = ReadOptions(start=Fraction(5))
    with pytest.raises(InputError, match=r"at or after 5 s of its 1.00 s"):
        list(read_frames(path, SMALL, late))
    with pytest.raises(InputError, match="at or after 5 s"):
        count_frames(path, late)


def test_a_playlist_is_refused_whatever_it_names(tmp_path):
    make_clip(tmp_path / "clip.mp4")
    playlist = tmp_path / "list.ffconcat"
    playlist.write_text("ffconcat version 1.0\nfile clip.mp4\n")
    with av.open(str(playlist)) as opened:  # FFmpeg itself would read it
        assert sum(1 for _ in opened.decode(video=0)) == 10
    with pytest.raises(InputError, match="playlist"):
        probe(playlist)


def test_a_video_of_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    # What counts is the contents, and these are FFmpeg's png_pipe.
    path = make_absurd_png(tmp_path / "clip.mp4")
    with pytest.raises(InputError, match="million pixels"):
        probe(path)
