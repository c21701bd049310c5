"""Windows of a shot are brought to one scale where results are written, run after run alike."""

import json
from functools import partial

import numpy as np
import pytest
from clips import make_film
from processes import KILLED, in_child, kill_this_process

from depthcrafter_cli.media import aligned
from depthcrafter_cli.workflows.state import RunState

LENGTHS = (13, 4)  # shots of several windows, and of one


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", *LENGTHS)


@pytest.fixture
def options(tiny_folder):
    return [
        "--weights", tiny_folder, "--steps", 1, "--window", 6, "--overlap", 2, "--decode-chunk", 3,
        "--max-res", 64, "--size", "model", "--normalize", "none",
    ]  # fmt: skip


def depth_of(path):
    with np.load(path, allow_pickle=False) as archive:
        return archive["depth"]


def record_of(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


def test_aligned_disparity_is_solved_again_by_finish_and_what_is_kept_is_as_without(
    cli, film, options, tmp_path
):
    made = {}
    for align in ("off", "windows"):
        out = made[align] = tmp_path / f"{align}.npz"
        done = cli("run", film, "--out", out, *options, "--align", align, "--keep-work")
        assert done.code == 0, done.err
    off, on = (RunState(tmp_path / f"{align}.npz.work").shots(read_only=True) for align in made)
    for one, other in zip(off, on, strict=True):
        assert one.complete and other.complete
        with one.spool, other.spool:
            for (raw, time), (kept, same) in zip(
                one.spool.frames(), other.spool.frames(), strict=True
            ):
                assert np.array_equal(raw, kept) and time == same
    assert [len(each.overlaps) for each in (*off, *on)] == [0, 0, 2, 0]
    assert not (tmp_path / "off.npz.work" / "shots" / "0000" / "overlaps.spool").exists()
    crossfade, steady = depth_of(made["off"]), depth_of(made["windows"])
    assert not np.allclose(crossfade[: LENGTHS[0]], steady[: LENGTHS[0]], atol=1e-3)
    assert np.array_equal(crossfade[LENGTHS[0] :], steady[LENGTHS[0] :])
    (told,) = record_of(made["windows"])["alignment"]
    assert (told["shot"], told["windows"]) == (0, 3)
    assert 0 < told["seam_residual"]["after"] < told["seam_residual"]["before"]
    assert "alignment" not in record_of(made["off"])
    pinned = tmp_path / "skeleton.npz"
    done = cli("run", film, "--out", pinned, *options, "--align", "skeleton", "--json")
    steps = [json.loads(line) for line in done.out.splitlines() if '"denoise"' in line]
    assert done.code == 0 and steps[-1]["done"] == steps[-1]["total"] == 5  # 3, the skeleton, and 1
    assert record_of(pinned)["alignment"][0]["windows"] == 3
    assert not np.array_equal(depth_of(pinned), steady)
    again = tmp_path / "again.npz"
    look = ["--size", "model", "--normalize", "none"]
    assert cli("finish", tmp_path / "windows.npz.work", "--out", again, *look).code == 0
    assert np.array_equal(depth_of(again), steady)
    assert record_of(again)["alignment"] == [told]


def killed_at(call, *, before):
    """Let this process be killed in keeping what windows share, for the n-th time."""
    real, calls = aligned.OverlapSpool.put, [0]

    def put(self, kept, overlaps):
        calls[0] += 1
        if calls[0] == call and before:
            kill_this_process()
        real(self, kept, overlaps)
        if calls[0] == call:
            kill_this_process()

    aligned.OverlapSpool.put = put


@pytest.mark.slow
@pytest.mark.parametrize("align", ["windows", "skeleton"])
@pytest.mark.parametrize(("call", "before"), [(1, True), (1, False), (2, False)])
def test_a_run_killed_while_it_keeps_overlaps_goes_on_to_the_same_bytes(
    cli, film, options, tmp_path, call, before, align
):
    out, work = tmp_path / "d.npz", tmp_path / "d.npz.work"
    command = ["run", film, "--out", out, *options, "--align", align, "--no-record"]
    assert in_child(command, partial(killed_at, call, before=before)) == KILLED
    resumed = cli(*command, "--resume", "--keep-work")
    assert resumed.code == 0, resumed.err
    expected = out.read_bytes()
    out.unlink()
    (work / "shots" / "0000" / "overlaps.spool").unlink()
    whole = cli(*command, "--resume")  # lost, so that all of the shot is computed anew
    assert whole.code == 0 and "the run begins again" in whole.err, whole.err
    assert out.read_bytes() == expected


@pytest.mark.parametrize("other", [["--reference"], ["--overlap", 0]])
def test_nothing_is_aligned_where_nothing_is_shared_or_known_of_it(
    cli, film, options, tmp_path, other
):
    refused = cli("run", film, "--out", tmp_path / "d.npz", *options, "--align", "windows", *other)
    assert refused.code == 2 and "got --align windows with" in refused.err, refused.err
