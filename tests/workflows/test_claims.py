"""Every place has one writer at a time, however it is called; claims leave nothing behind."""

import signal
from pathlib import Path

import pytest
from processes import stop_at

from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.files import claimed, lock_path
from depthcrafter_cli.media.sinks.registry import places_of


def locks_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.lock")]


@pytest.mark.parametrize(
    "names",
    [
        ("d.mp4", "./x/../d.mp4"),
        ("d.mp4", "link/d.mp4"),
        ("frames", "frames/depth_%05d.png"),
        ("frames", "link/frames"),
        ("frames/a_%d.png", "link/frames/a_%04d.png"),
        ("there", "there/depth_%05d.png"),
        ("there", "link/way/depth_%05d.png"),
    ],
)
def test_a_place_is_claimed_once_whatever_its_spelling(tmp_path, names):
    (tmp_path / "there").mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "way").symlink_to("there")
    (tmp_path / "link").symlink_to(tmp_path)
    one, other = (places_of([tmp_path / name]) for name in names)
    for first, second in ((one, other), (other, one)):
        with claimed(first), pytest.raises(OutputError, match="another run"), claimed(second):
            pass
    assert locks_in(tmp_path) == []


def test_a_folder_that_appears_during_a_run_is_still_claimed_by_it(tmp_path):
    folder = tmp_path / "frames"
    with claimed(places_of([folder])):
        folder.mkdir()
        with pytest.raises(OutputError, match="another run"), claimed(places_of([folder])):
            pass
        with claimed(places_of([folder / "other_%d.png"])):
            pass
    with claimed(places_of([folder])):
        pass
    assert locks_in(tmp_path) == []


def test_two_patterns_in_one_folder_have_a_writer_each(tmp_path):
    for _ in range(2):
        left, right = (places_of([tmp_path / "frames" / f"{side}_%d.png"]) for side in "lr")
        with claimed(left), claimed(right):
            pass
        (tmp_path / "frames").mkdir(exist_ok=True)


@pytest.mark.slow
def test_no_lock_stays_after_a_killed_run_was_resumed_or_finished(cli, clip, options, tmp_path):
    frames, out = tmp_path / "frames", tmp_path / "d.npz"
    asked = [clip, "--out", frames, "--out", out, *options]
    assert stop_at("write", 2, asked, signal.SIGKILL)[0] == -signal.SIGKILL
    assert locks_in(tmp_path)
    frames.mkdir()  # the place of its claim is another now
    assert cli("run", *asked, "--resume").code == 0
    assert locks_in(tmp_path) == []
    places = [*places_of([frames, out]), tmp_path / "frames.work"]
    for place in places:  # as a run that is killed right after its last step leaves them
        lock_path(place).touch()
    done = cli("run", *asked, "--resume")
    assert done.code == 0 and "already finished" in done.err
    assert locks_in(tmp_path) == []


def test_an_output_has_one_writer_though_the_state_is_elsewhere(cli, clip, options, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with claimed(places_of([tmp_path / "frames"])):
        other = [clip, "--out", tmp_path / "link" / "frames", "--work-dir", tmp_path / "state"]
        refused = cli("run", *other, *options)
    assert refused.code == 6 and "another run" in refused.err


def test_a_claim_is_not_made_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock_path(tmp_path / "d.mp4").symlink_to(victim)
    with pytest.raises(OutputError), claimed([tmp_path / "d.mp4"]):
        pass
    assert victim.read_text() == "precious"
