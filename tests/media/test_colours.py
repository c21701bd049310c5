"""Colours: which matrix turns a video's YUV into RGB."""

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from clips import make_clip, shown_by_ffmpeg

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.types import Size

RED = (192, 48, 32)
BT709, UNNAMED, BT601 = 1, 2, 6  # ITU-T H.273
AS_601_READS_709 = (177, 30, 32)


def red_clip(path, size, *, matrix=Colorspace.ITU709, named=UNNAMED, primaries=None):
    """One red frame, its YUV by ``matrix``, which the file calls ``named``.

    Its primaries are named alike unless ``primaries`` is given.
    """
    rgb = np.broadcast_to(np.array(RED, np.uint8), (size.height, size.width, 3))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
        format="yuv420p", dst_colorspace=matrix, dst_color_range=ColorRange.MPEG
    )
    frame.colorspace = named
    if hasattr(frame, "color_trc"):  # PyAV 16 neither has nor sets it
        frame.color_primaries = frame.color_trc = named
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        stream.options = {"qp": "0", "preset": "ultrafast", "threads": "1"}
        stream.codec_context.colorspace = named
        if primaries is not None:
            stream.codec_context.color_primaries = frame.color_primaries = primaries
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(path, **options):
    (frame,) = read_frames(path, Size(16, 16), ReadOptions(**options))
    return frame.rgb[8, 8]


@pytest.mark.parametrize(
    ("size", "hd"),
    [
        (Size(720, 64), True),
        (Size(718, 64), False),
        (Size(64, 1280), True),  # of a wide film, cut to its picture
        (Size(576, 1024), False),
        (Size(1280, 720), True),  # of a telephone
        (Size(480, 720), False),
    ],
)
def test_the_size_of_an_untagged_video_tells_its_matrix(tmp_path, size, hd):
    matrix = Colorspace.ITU709 if hd else Colorspace.ITU601
    path = red_clip(tmp_path / "a.mp4", size, matrix=matrix)
    assert np.abs(shown(path) - np.array(RED)).max() <= 2


def test_a_tag_wins_over_the_size_and_over_what_is_asked(tmp_path):
    tagged = red_clip(tmp_path / "a.mp4", Size(720, 64), matrix=Colorspace.ITU601, named=BT601)
    for matrix in ("auto", "bt601", "bt709", "bt2020"):
        assert np.abs(shown(tagged, matrix=matrix) - np.array(RED)).max() <= 2
    small = red_clip(tmp_path / "b.mp4", Size(64, 64), named=BT709)
    assert np.abs(shown(small) - np.array(RED)).max() <= 2


@pytest.mark.skipif(not hasattr(av.VideoFrame, "color_primaries"), reason="PyAV 16 tells none")
@pytest.mark.parametrize(
    ("size", "primaries", "matrix"),
    [
        (Size(720, 64), BT601, Colorspace.ITU601),
        (Size(64, 64), BT709, Colorspace.ITU709),
        (Size(720, 64), 9, 9),
    ],
)
def test_primaries_tell_the_matrix_that_is_not_named(tmp_path, size, primaries, matrix):
    path = red_clip(tmp_path / "a.mp4", size, matrix=matrix, primaries=primaries)
    assert np.abs(shown(path) - np.array(RED)).max() <= 2
    asked = shown(path, matrix="bt709" if primaries != BT709 else "bt601")
    assert np.abs(asked - np.array(RED)).max() > 4


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_the_matrix_that_is_asked_for_is_that_of_the_ffmpeg_program(tmp_path, matrix):
    path = red_clip(tmp_path / "a.mp4", Size(720, 64))
    exact = "" if matrix == "bt601" else "+accurate_rnd+full_chroma_int"
    scale = f"scale=16:16:flags=bilinear{exact}:in_color_matrix={matrix}"
    expected = shown_by_ffmpeg(path, Size(16, 16), scale)[8, 8].astype(int)
    assert np.abs(shown(path, matrix=matrix) - expected).max() <= 2


def test_the_reference_keeps_bt601_for_what_names_no_matrix(cli, tmp_path, tiny_folder):
    source, out = red_clip(tmp_path / "a.mp4", Size(720, 64)), tmp_path / "both.mp4"
    told = ["--weights", tiny_folder, "--steps", 1, "--size", "model", "--side-by-side"]
    for options, expected in ([], RED), (["--reference"], AS_601_READS_709):
        done = cli("run", source, "--out", out, "--crf", 0, "--overwrite", *told, *options)
        assert done.code == 0, done.err
        rgb = shown_by_ffmpeg(out, probe(out).size)
        assert np.abs(rgb[8, 8].astype(int) - expected).max() <= 4


def test_rgb_and_gray_have_no_matrix(tmp_path):
    for codec, pix_fmt in (("ffv1", "bgr0"), ("ffv1", "gray"), ("gif", "rgb8")):
        suffix = ".gif" if codec == "gif" else ".mkv"
        path = tmp_path / f"{codec}{suffix}"
        make_clip(path, frames=1, size=Size(720, 64), codec=codec, pix_fmt=pix_fmt)
        plain, asked = (shown(path, matrix=matrix) for matrix in ("bt601", "bt2020"))
        np.testing.assert_array_equal(plain, asked)


def test_an_unknown_matrix_is_refused():
    with pytest.raises(UsageError, match="`matrix` 'bt470', expected one of auto, bt601"):
        ReadOptions(matrix="bt470")
