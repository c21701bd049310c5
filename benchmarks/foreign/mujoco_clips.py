"""Clips from MuJoCo: bodies that fall, walk and roll under its own physics and OpenGL renderer."""

import mujoco
import numpy as np

from foreign.clip import Clip
from foreign.mujoco_scenes import model_of

FAR = 120.0  # metres; model_of sets the far plane there
SETTLE = 0.6  # seconds of physics before the first picture, at most


def draw(seed: int, frames: int, height: int, width: int) -> Clip:
    """The clip of a seed at 24 frames a second; the same on every call on one machine."""
    rng = np.random.default_rng([seed, 77])
    model, target, away = model_of(seed, rng)
    data = mujoco.MjData(model)
    data.qvel[:] = rng.normal(size=model.nv) * 0.5
    for _ in range(int(rng.uniform(0, SETTLE) / model.opt.timestep)):
        mujoco.mj_step(model, data)
    path = _path(rng, frames, target, away)
    rgb = np.empty((frames, height, width, 3), np.uint8)
    depth = np.empty((frames, height, width), np.float32)
    with mujoco.Renderer(model, height, width) as renderer:
        fog = bool(rng.random() < 0.3)
        for frame, view in enumerate(path):
            for _ in range(int(1 / 24 / model.opt.timestep)):
                mujoco.mj_step(model, data)
            renderer.disable_depth_rendering()
            renderer.update_scene(data, view)
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = fog
            rgb[frame] = renderer.render()
            renderer.enable_depth_rendering()
            renderer.update_scene(data, view)
            depth[frame] = renderer.render()
    return Clip(rgb, np.where(depth > 0.98 * FAR, np.float32(np.inf), depth))


def _path(
    rng: np.random.Generator, frames: int, target: np.ndarray, away: float
) -> list[mujoco.MjvCamera]:
    """A free camera that circles, climbs, approaches and follows, each by a random amount."""
    azimuth, elevation = rng.uniform(0, 360), -np.exp(rng.uniform(np.log(2), np.log(45)))
    turn, climb, approach = rng.normal() * 15, rng.normal() * 4, rng.normal() * 0.15
    drift = rng.normal(size=3) * 0.15 * away * [1, 1, 0.3]
    shake = np.cumsum(rng.normal(size=(frames, 2)) * rng.uniform(0, 0.25), axis=0)
    views = []
    for frame, part in enumerate(np.linspace(-0.5, 0.5, frames)):
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.lookat[:] = target + part * drift
        camera.distance = away * np.exp(part * approach)
        camera.azimuth = azimuth + part * turn + shake[frame, 0]
        camera.elevation = min(elevation + part * climb + shake[frame, 1], -1.0)
        views.append(camera)
    return views
