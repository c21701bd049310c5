"""Clips of the foreign renderers are the same on every call and have true depth."""

import foreign
import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("source", "engine"), [("mujoco", "mujoco"), ("doom", "vizdoom")])
def test_same_number_same_clip_drawn_or_kept(source, engine, tmp_path):
    pytest.importorskip(engine)
    drawn = next(foreign.clips(source, 1, 3, tmp_path))
    again = next(foreign.clips(source, 1, 3))
    kept = next(foreign.clips(source, 1, 3, tmp_path))
    assert drawn.rgb.shape == (3, 192, 320, 3)
    assert drawn.depth.shape == (3, 192, 320)
    for other in (again, kept):
        assert np.array_equal(drawn.rgb, other.rgb)
        assert np.array_equal(drawn.depth, other.depth)
    known = drawn.depth[np.isfinite(drawn.depth) & (drawn.depth > 0)]
    assert known.size > 0.3 * drawn.depth.size
    assert np.ptp(drawn.rgb) > 50
    assert known.max() / known.min() > 2


def test_depth_of_a_mujoco_floor_follows_from_the_camera(monkeypatch):
    mujoco = pytest.importorskip("mujoco")
    from foreign import mujoco_clips

    floor = mujoco.MjModel.from_xml_string(
        '<mujoco><statistic extent="1" center="0 0 0"/><visual><global fovy="90"/>'
        '<map znear="0.05" zfar="120"/></visual><worldbody><light pos="0 0 9"/>'
        '<geom type="plane" size="60 60 1"/></worldbody></mujoco>'
    )
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation = 3.0, -90.0
    monkeypatch.setattr(mujoco_clips, "model_of", lambda *_: (floor, np.zeros(3), 3.0))
    monkeypatch.setattr(mujoco_clips, "_path", lambda *_: [camera])
    depth = mujoco_clips.draw(0, 1, 32, 32).depth
    assert np.abs(depth - 3.0).max() < 1e-2
