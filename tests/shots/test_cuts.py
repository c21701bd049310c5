"""Lists of cuts, as detectors, editors and people write them."""

import json
from fractions import Fraction

import opentimelineio as otio
import pytest

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.shots.cuts import read_cuts, shots_csv, shots_edl
from depthcrafter_cli.shots.shot import Timeline, shots_between
from depthcrafter_cli.shots.timecode import frames_of, timecode_of

FILM = Fraction(24000, 1001)
HOUR = 86400  # frames of 23.976 until the timecode 01:00:00:00


def timeline(frames=200, rate=FILM, **more):
    return Timeline([k / rate for k in range(frames)], rate, **more)


PYSCENEDETECT = """Timecode List:,00:00:02.085,00:00:05.005
Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,\
End Time (seconds),Length (frames),Length (timecode),Length (seconds)
1,1,00:00:00.000,0.000,50,00:00:02.085,2.085,50,00:00:02.085,2.085
2,51,00:00:02.085,2.085,120,00:00:05.005,5.005,70,00:00:02.920,2.920
3,121,00:00:05.005,5.005,200,00:00:08.342,8.342,80,00:00:03.337,3.337
"""
EDL = """TITLE: film
FCM: NON-DROP FRAME

001  AX       V     C        01:00:00:00 01:00:02:02 01:00:00:00 01:00:02:02
* FROM CLIP NAME: a.mov
002  AX       AA/V  C        00:00:00:00 00:00:02:22 01:00:02:02 01:00:05:00
003  BX       A2    C        00:00:00:00 00:00:02:22 01:00:03:02 01:00:05:00
004  AX       V     C        00:00:00:00 00:00:00:00 01:00:05:00 01:00:05:00
004  BX       V     D    024 00:00:00:00 00:00:03:08 01:00:05:00 01:00:08:08
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scenes.csv", PYSCENEDETECT),
        ("scenes.csv", PYSCENEDETECT.split("\n", 1)[1]),
        ("scenes.csv", PYSCENEDETECT.split("\n", 1)[1].replace(",", ";")),
        ("cut.edl", EDL),
        ("cut.EDL", EDL.replace("\n", "\r\n")),
        ("clip.mp4.scenes.txt", "0 49\n50 119\n120 199\n"),
        ("list.txt", "50\n120\n"),
        ("list.txt", "\ufeff# two cuts\n2.085\n0:05.005  # the second\n"),
        ("list.txt", "00:00:02:02\n00:00:05:00\n"),
        ("list.csv", "50\n120\n"),
    ],
)
def test_every_kind_of_list_gives_the_frames_before_which_it_cuts(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_cuts(tmp_path / name, timeline()) == [50, 120]


def test_a_timeline_of_opentimelineio_cuts_where_its_items_begin(tmp_path):
    schema, rate = otio.schema, float(FILM)

    def lasting(frames, kind=schema.Clip):
        start, length = (otio.opentime.RationalTime(n, rate) for n in (HOUR, frames))
        return kind(source_range=otio.opentime.TimeRange(start, length))

    dissolve = schema.Transition(
        in_offset=otio.opentime.RationalTime(10, rate),
        out_offset=otio.opentime.RationalTime(8, rate),
    )
    track = schema.Track(kind="Video")
    track.extend([lasting(50), lasting(80), dissolve, lasting(40), lasting(30, schema.Gap)])
    edited, path = schema.Timeline("film"), tmp_path / "film.otio"
    edited.tracks.extend([schema.Track(kind="Audio"), track])
    otio.adapters.write_to_file(edited, str(path))
    assert read_cuts(path, timeline()) == [50, 120, 170]
    for content in (edited.tracks[0].to_json_string(), path.read_text()[:-40]):
        path.write_text(content)
        with pytest.raises(InputError, match=r"film\.otio"):
            read_cuts(path, timeline())


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_our_list_is_read_again_as_a_spreadsheet_saves_it(tmp_path, encoding, delimiter):
    film = timeline()
    text = shots_csv(shots_between([50, 120], film), film).replace(",", delimiter)
    noted = "".join(f"{line}{delimiter}café\r\n" for line in text.splitlines())
    (tmp_path / "s.csv").write_bytes(noted.encode(encoding))
    assert read_cuts(tmp_path / "s.csv", film) == [50, 120]


def test_iw3_names_the_last_frame_before_a_cut_in_the_streams_units(tmp_path):
    cache = {"pts": [1001 * 49 + 2002, 1001 * 119 + 2002], "max_fps": 30, "start_time": None}
    (tmp_path / "cache.json").write_text(json.dumps(cache))
    units = timeline(time_base=Fraction(1, 24000), first_pts=2002)
    assert read_cuts(tmp_path / "cache.json", units) == [50, 120]


def test_an_hour_of_non_drop_timecode_lasts_longer_and_pyscenedetect_counts_real_seconds(tmp_path):
    rate, frames = FILM, HOUR + 100
    event = "001  AX       V     C        {0} {1} {0} {1}\n"
    begin = event.format("00:00:00:00", "01:00:00:00")
    later = event.format("01:00:00:00", "01:00:02:00")
    (tmp_path / "editor.edl").write_text(begin + later)
    (tmp_path / "detector.edl").write_text(f"* CREATED WITH PYSCENEDETECT 0.7\n{begin}{later}")
    long = timeline(frames, rate)
    assert read_cuts(tmp_path / "editor.edl", long) == [HOUR]
    assert read_cuts(tmp_path / "detector.edl", long) == [round(3600 * rate)]


@pytest.mark.parametrize(
    ("timecode", "rate", "drop", "frame"),
    [
        ("00:01:00;02", Fraction(30000, 1001), False, 1800),
        ("00:00:59;29", Fraction(30000, 1001), False, 1799),
        ("00:10:00;00", Fraction(30000, 1001), False, 17982),
        ("01:00:00:00", Fraction(30000, 1001), True, 107892),
        ("01:00:00:00", Fraction(30000, 1001), False, 108000),
        ("00:01:00;04", Fraction(60000, 1001), False, 3600),
        ("01:00:00:00", FILM, False, HOUR),
        ("00:00:01:12", Fraction(25), False, 37),
    ],
)
def test_timecode_counts_as_the_standard_says(timecode, rate, drop, frame):
    assert frames_of(timecode, rate, drop=drop) == frame
    if not drop and ";" not in timecode:
        assert timecode_of(frame, rate) == timecode


@pytest.mark.parametrize("suffix", ["csv", "edl"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    film = timeline()
    shots = shots_between([50, 120, 120, 0, 200, 500], film)
    assert [(shot.start, shot.stop) for shot in shots] == [(0, 50), (50, 120), (120, 200)]
    text = shots_csv(shots, film) if suffix == "csv" else shots_edl(shots, film, "film")
    (tmp_path / f"s.{suffix}").write_text(text)
    assert read_cuts(tmp_path / f"s.{suffix}", film) == [50, 120]


def test_times_of_a_variable_rate_mean_the_nearest_frame():
    uneven = Timeline([Fraction(n, 10) for n in (0, 1, 2, 30, 31)], Fraction(10))
    assert [uneven.frame_at(Fraction(t, 100)) for t in (4, 6, 100, 299, 310, 316)] == [
        0, 1, 2, 3, 4, 5,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.edl", b"TITLE: nothing", "no known kind"),
        ("a.csv", b"a,b\n1,2\n", "no known kind"),
        ("a.txt", b"12\nbanana\n", "banana"),
        ("a.csv", b"shot,first_frame\n0," + b"9" * 200_000, "field larger"),
        ("a.json", b'{"pts": 3}', "a.json"),
        ("a.txt", b"\xff\xfe\x00", "a.txt"),
        ("a.txt", b"12\n500\n", "frame 500"),
        ("a.edl", EDL.replace("01:00:02:02", "01:00:02:29").encode(), "frame 29"),
        ("a.edl", EDL.replace("002  AX ", "002  A X").encode(), "one word"),
        ("a.edl", EDL.replace(" 01:00:05:00 01:00:08:08", "").encode(), "four timecodes"),
        ("missing.txt", None, "missing.txt"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_in_a_sentence(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as refusal:
        read_cuts(tmp_path / name, timeline())
    assert "expected" in str(refusal.value)
