"""HDR: PQ and HLG become SDR before the model sees them, as zscale's inverse makes it."""

from dataclasses import replace

import numpy as np
import pytest
from clips import ffmpeg, shown_by_ffmpeg
from PIL import Image

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.hdr import ToSdr
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.types import Hdr, Size
from depthcrafter_cli.workflows.request import RunRequest

SIZE = Size(96, 128)
TRANSFERS = {"pq": "smpte2084", "hlg": "arib-std-b67"}
TO_SDR = (
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=709,zscale=t=709:m=gbr:r=full,format=gbrp"
)


def colours():
    """A smooth picture of all hues and levels."""
    rows, columns = np.linspace(0, 1, SIZE.height)[:, None], np.linspace(0, 1, SIZE.width)[None]
    hue = 2 * np.pi * columns
    channels = [(0.5 + 0.45 * np.cos(hue + turn)) * rows for turn in (0, 2.1, 4.2)]
    return np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)


def hdr_clip(path, transfer, pix_fmt="yuv420p10le", codec="ffv1", matrix="2020_ncl"):
    """SDR whose white is at 203 nits, made HDR by zscale."""
    picture, levels = path.with_suffix(".png"), "full" if matrix == "gbr" else "limited"
    Image.fromarray(colours()).save(picture)
    sdr = "format=gbrp,setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"
    linear = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=2020"
    coded = f"zscale=t={TRANSFERS[transfer]}:m={matrix}:r={levels}:npl=203,format={pix_fmt}"
    quiet = ("-x265-params", "log-level=none:lossless=1") if codec == "libx265" else ()
    ffmpeg("-i", picture, "-vf", f"{sdr},{linear},{coded}", "-c:v", codec, *quiet, path)
    return path


def shown(path, **options):
    (frame,) = read_frames(path, SIZE, ReadOptions(**options))
    return frame.rgb.astype(int)


@pytest.mark.parametrize(
    "coded",
    [
        ("yuv420p10le", "ffv1"),
        ("yuv420p10le", "libx265"),
        ("yuv422p12le", "ffv1"),
        ("gbrp10le", "ffv1", "gbr"),
    ],
    ids=lambda coded: "-".join(coded),
)
@pytest.mark.parametrize("transfer", TRANSFERS)
def test_hdr_made_of_sdr_is_read_as_that_sdr(tmp_path, transfer, coded):
    path = hdr_clip(tmp_path / "hdr.mkv", transfer, *coded)
    assert probe(path).hdr == Hdr(transfer, 9)
    oracle = shown_by_ffmpeg(path, SIZE, TO_SDR)
    assert np.abs(shown(path) - oracle).mean() < 2
    assert np.abs(shown(path) - colours()).mean() < 3
    assert np.abs(shown(path, tonemap="none") - colours()).mean() > 15


def test_hdr_is_told_and_what_does_not_say_so_can_be_said_to_be(tmp_path):
    path, told = hdr_clip(tmp_path / "hdr.mkv", "pq"), []
    list(read_frames(path, SIZE, warn=told.append))
    assert len(told) == 1 and "HDR (PQ)" in told[0] and "203 nits" in told[0]
    untagged = tmp_path / "untagged.mkv"
    plain = "setparams=color_primaries=unknown:color_trc=unknown:colorspace=unknown"
    ffmpeg("-i", path, "-vf", plain, "-c:v", "ffv1", untagged)
    assert probe(untagged).hdr is None
    np.testing.assert_array_equal(shown(untagged, tonemap="pq"), shown(path))
    with pytest.raises(UsageError, match="`tonemap` 'aces', expected one of auto, pq, hlg, none"):
        ReadOptions(tonemap="aces")


def test_pictures_of_floats_can_be_said_to_be_hdr(tmp_path):
    exact, floats = (
        hdr_clip(tmp_path / "hdr.mkv", "pq", "gbrp12le", "ffv1", "gbr"),
        tmp_path / "f.nut",
    )
    ffmpeg("-i", exact, "-pix_fmt", "gbrpf32le", "-c:v", "rawvideo", floats)
    assert np.abs(shown(floats, tonemap="pq") - shown(exact)).mean() < 1


def test_the_reference_reads_hdr_as_it_is_stored(tmp_path):
    path = hdr_clip(tmp_path / "hdr.mkv", "hlg")
    request = RunRequest(path, (tmp_path / "d.npz",), reference=True)
    (frame,) = read_frames(path, SIZE, request.selection)
    np.testing.assert_array_equal(frame.rgb, shown(path, tonemap="none", matrix="bt601"))
    assert replace(request, reference=False).selection == ReadOptions()


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_white_is_at_203_nits_and_black_at_none(transfer):
    signal = {"pq": 0.58069, "hlg": 0.75}[transfer]  # ITU-R BT.2408, table 1
    levels = np.rint(np.array([0, signal, 1]) * 65535).astype(np.uint16)
    gray = np.repeat(levels[:, None, None], 3, axis=2)
    assert ToSdr(Hdr(transfer), 65535)(gray)[:, 0].tolist() == [[0] * 3, [255] * 3, [255] * 3]
    below = (gray[1:2] * 0.97).astype(np.uint16)
    assert ToSdr(Hdr(transfer), 65535)(below).max() < 250
