"""Every codec a video can have: what an independent decoder gives back, and how it is tagged."""

import json
import subprocess
from dataclasses import replace
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest
from clips import picture

from depthcrafter_cli.depth.normalize import normalize
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.look import CODECS
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.media.sinks import DepthFrame, Look, SinkSettings, check_outputs, sink_for
from depthcrafter_cli.media.sinks.registry import check_size
from depthcrafter_cli.types import Size, ValueRange

SIZE = Size(96, 128)
RANGE = ValueRange(0.0, 1.0)
RATE = Fraction(24000, 1001)
EVERY = [(name, suffix) for name, codec in CODECS.items() for suffix in codec.suffixes]

# The most that a sample of a smooth ramp is off, in 1/65535 of the range, and the mean.
WORST = {
    "h264": (1100, 350), "h264-nvenc": (1100, 350), "h264-444": (700, 120),
    "h264-10": (250, 40), "av1": (700, 70), "hevc-10": (550, 50), "hevc-12": (550, 35),
    "prores": (130, 30), "prores-4444": (110, 25), "ffv1": (0.5, 0.3),
}  # fmt: skip


def disparity(index, size=SIZE):
    rows = np.linspace(0, 0.5, size.height, dtype=np.float32)[:, None]
    columns = np.linspace(0, 0.45, size.width, dtype=np.float32)[None]
    return rows + columns + np.float32(0.01 * index)


def write(out, name, *, size=SIZE, frames=4, pixel_aspect=Fraction(1), **look):
    times = [index / RATE for index in range(frames)]
    settings = SinkSettings(
        size,
        frames,
        RATE,
        Fraction(1, 24000),
        RANGE,
        look=Look(codec=name, **look),
        pixel_aspect=pixel_aspect,
    )
    with sink_for(out, settings) as sink:
        for index, time in enumerate(times):
            raw = disparity(index, size)
            frame = DepthFrame(index, time, raw, normalize(raw, RANGE), picture(index, size))
            sink.write(frame)
    return out


def decoded(path, size=SIZE):
    """Gray samples of all frames in [0, 1], as another FFmpeg than PyAV's gives them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo",
               "-vf", "scale=out_range=full", "-pix_fmt", "gray16le", "-"]  # fmt: skip
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, "<u2").reshape(-1, size.height, size.width) / 65535


@pytest.mark.parametrize(("name", "suffix"), EVERY)
def test_another_decoder_gets_the_depth_back(tmp_path, name, suffix):
    out = write(tmp_path / f"d{suffix}", name, colormap="gray", crf=8)
    frames = decoded(out)
    assert len(frames) == 4
    error = np.abs(frames - np.stack([disparity(index) for index in range(4)])) * 65535
    most, mean = WORST[name]
    assert error.max() <= most + 0.01
    assert error.mean() <= mean


TAGS = {
    "h264": ("h264", "yuv420p", "tv", "avc1"),
    "h264-nvenc": ("h264", "yuv420p", "tv", "avc1"),
    "h264-10": ("h264", "yuv420p10le", "tv", "avc1"),
    "h264-444": ("h264", "yuv444p", "tv", "avc1"),
    "hevc-10": ("hevc", "gray10le", "pc", "hvc1"),
    "hevc-12": ("hevc", "gray12le", "pc", "hvc1"),
    "av1": ("av1", "yuv420p10le", "tv", "av01"),
    "prores": ("prores", "yuv422p10le", "tv", "apch"),
    "prores-4444": ("prores", "yuv444p12le", "tv", "ap4h"),
    "ffv1": ("ffv1", "gray16le", "pc", None),
}


@pytest.mark.parametrize(("name", "suffix"), EVERY)
def test_the_stream_is_tagged_as_players_and_editors_expect(tmp_path, name, suffix):
    out = write(tmp_path / f"d{suffix}", name)
    codec, pixels, span, tag = TAGS[name]
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert stream.codec.canonical_name == codec
        assert context.pix_fmt == pixels
        # ProRes has no place for it; the FFmpeg of PyAV 16 does not take it for granted.
        if codec != "prores":
            assert context.color_range == {"tv": 1, "pc": 2}[span]
        if not CODECS[name].matte:
            assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        if tag and suffix != ".mkv":
            assert context.codec_tag == tag
        picture = next(container.decode(stream))
        if not CODECS[name].matte and hasattr(picture, "color_trc"):  # from PyAV 17 on
            assert (picture.color_primaries, picture.color_trc, picture.colorspace) == (1, 1, 1)
        assert stream.average_rate == RATE
    if suffix == ".mp4":  # browsers play it while it comes
        assert 0 < out.read_bytes().find(b"moov") < out.read_bytes().find(b"mdat")
    times = [frame.time for frame in read_frames(out, SIZE)]
    assert times == [index / RATE for index in range(4)]


@pytest.mark.parametrize(
    ("name", "aspect", "size"),
    [
        *((name, Fraction(2), Size(64, 80)) for name, suffix in EVERY if suffix == ".mkv"),
        ("ffv1", Fraction(1, 2), Size(16, 8192)),
        ("ffv1", Fraction(10), Size(8, 16384)),  # a side that takes three bytes
        ("ffv1", Fraction(127, 126), Size(8, 126)),
    ],
)
def test_a_matroska_file_tells_how_wide_its_pixels_are(tmp_path, name, aspect, size):
    out = write(tmp_path / "d.mkv", name, size=size, frames=2, pixel_aspect=aspect)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", out, "-err_detect", "explode+crccheck"]
    told = subprocess.run([*command, "-f", "null", "-"], check=True, capture_output=True, text=True)
    assert f"SAR {aspect.numerator}:{aspect.denominator} " in told.stderr.partition("Output")[0]
    with av.open(str(out)) as container:
        container.seek(1)
        assert len(list(container.decode(video=0))) == 2


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [Size(95, 127), Size(95, 128)], ids=str)
def test_odd_sides_stay_where_the_codec_has_them(tmp_path, name, size):
    codec = CODECS[name]
    out = write(tmp_path / f"d{codec.suffixes[0]}", name, size=size, colormap="gray", frames=2)
    even = Size(96, 128) if "420" in codec.pix_fmt else Size(95, 128)
    whole = even if "420" in codec.pix_fmt or "422" in codec.pix_fmt else size
    shown = decoded(out, whole)[0, : size.height, : size.width]
    assert np.abs(shown - disparity(0, size)).mean() < 0.01


def test_the_same_frames_give_the_same_file(tmp_path):
    # swscale writes rows of this width past their ends, which threads did to each other's rows.
    size = Size(98, 132)
    for name, codec in CODECS.items():
        first = write(tmp_path / f"{name}{codec.suffixes[0]}", name, size=size)
        again = write(tmp_path / f"{name}-again{codec.suffixes[0]}", name, size=size)
        assert first.read_bytes() == again.read_bytes(), name


def test_colours_are_colours_in_ten_bits_as_well(tmp_path):
    out = write(tmp_path / "d.mov", "prores-4444", colormap="turbo", side_by_side=True)
    frame = next(iter(read_frames(out, Size(96, 256))))
    assert np.abs(frame.rgb[:, :128].astype(int) - picture(0, SIZE)).mean() < 4


@pytest.mark.parametrize(
    ("name", "look", "says"),
    [
        ("d.mp4", {"codec": "prores"}, r"`codec` prores, expected .mov"),
        ("d.mp4", {"codec": "xvid"}, r"`codec` 'xvid', expected one of h264, "),
        ("d.mov", {"pix_fmt": "rgb24"}, "expected one of yuv420p, "),
        ("d.mp4", {"encoder_option": "slow"}, "expected NAME=VALUE"),
        ("d.mkv", {"side_by_side": True}, "matte"),
        ("d.mov", {"codec": "hevc-10", "side_by_side": True}, "matte"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(tmp_path, name, look, says):
    with pytest.raises(UsageError, match=says):
        check_outputs([tmp_path / name], look=Look(**look))


@pytest.mark.parametrize(
    ("suffix", "look", "pixels"),
    [
        (".mov", {"codec": "prores", "pix_fmt": "yuv444p10le"}, "yuv444p"),
        (".mkv", {"codec": "ffv1", "pix_fmt": "gray12le"}, "gray12le"),
        (".mp4", {"pix_fmt": "yuv422p10le", "encoder_option": "preset=slow crf=4"}, "yuv422p10le"),
    ],
)
def test_pixels_and_options_of_the_encoder_are_those_asked_for(tmp_path, suffix, look, pixels):
    out = tmp_path / f"d{suffix}"
    check_outputs([out], look=Look(**look))
    check_size([out], SIZE, Look(**look))
    write(out, look.pop("codec", None), colormap="gray", **look)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.pix_fmt.startswith(pixels)
    error = np.abs(decoded(out) - np.stack([disparity(index) for index in range(4)]))
    assert error.max() * 65535 <= 300


def test_an_option_that_the_encoder_does_not_know_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"got `encoder_option` speed for .*libx264"):
        check_size([tmp_path / "d.mp4"], SIZE, Look(encoder_option="preset=slow speed=9"))


def test_a_codec_is_for_the_containers_that_hold_it(cli, clip, tmp_path):
    outs = ["--out", tmp_path / "d.mov", "--out", tmp_path / "d.mp4"]
    asked = ["--codec", "prores", "--method", "trivial-gradient", "--invert"]
    options = ["--encoder-option", "bits_per_mb=2000", "--encoder-option", "vendor=abcd"]
    refused = cli("run", clip, *outs, *asked, *options)
    assert refused.code == 2 and "bits_per_mb for" in refused.err  # of the one that is H.264
    assert cli("run", clip, *outs[:2], *asked, *options, "--no-record").code == 0
    done = cli("run", clip, *outs, *asked, "--overwrite")
    assert done.code == 0 and "d.mp4 will be in h264, as it cannot hold prores" in done.err
    with av.open(str(tmp_path / "d.mov")) as mov, av.open(str(tmp_path / "d.mp4")) as mp4:
        assert mov.streams.video[0].codec.canonical_name == "prores"
        assert mp4.streams.video[0].codec.canonical_name == "h264"
        assert "0 to 1 is raw 0.992188 to 0.0078125" in mp4.metadata["comment"]


def test_where_an_encoder_does_not_work_another_one_does_and_it_is_said(
    cli, clip, tmp_path, monkeypatch
):
    missing = replace(CODECS["h264-nvenc"], encoder="of_no_machine")
    monkeypatch.setitem(CODECS, "h264-nvenc", missing)
    asked = ["--codec", "h264-nvenc", "--method", "trivial-gradient", "--no-record"]
    done = cli("run", clip, "--out", tmp_path / "d.mp4", *asked)
    said = "d.mp4 will be in h264, as this machine cannot encode h264-nvenc."
    assert done.code == 0 and said in done.err, done.err
    with av.open(str(tmp_path / "d.mp4")) as container:
        assert container.streams.video[0].codec.canonical_name == "h264"


def test_a_run_writes_ffv1_and_says_nothing_else(cli, clip, options, tmp_path):
    done = cli("run", clip, "--out", tmp_path / "d.mkv", *options, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", ""), done.err
    assert decoded(tmp_path / "d.mkv", Size(64, 64)).shape == (16, 64, 64)
    assert "outputs" in json.loads((tmp_path / "d.mkv.json").read_text())
