"""Clips from a game engine: ViZDoom's software renderer looking about in the maps of Freedoom."""

import tempfile
from pathlib import Path

import numpy as np
import vizdoom
from vizdoom import Button, DoomGame, ScreenFormat, ScreenResolution

from foreign.clip import Clip

# The depth buffer is 8 bits and linear: value = 9/64 a map unit, less 2.1 (fitted to floors of
# known height and to walls while walking towards them); 32 map units are a metre.
STEPS_PER_UNIT, OFFSET, UNITS_PER_METRE = 9 / 64, 2.1, 32
SKY = 212
COARSE = 2.5  # below this value (one metre) a step is too coarse to compare with: depth 0, unknown
PLACES, HEADINGS = 60, 5  # looked at before the last picture is taken
MAPS = ("01", "02", "03", "04", "05", "06", "08", "09", "10", "11", "12", "13", "15", "16", "17",
        "18", "19", "20", "21", "22", "24", "25", "26", "27", "28", "29")  # fmt: skip


def draw(seed: int, frames: int, height: int, width: int) -> Clip:
    """The clip of a seed at 17.5 frames a second; the same on every call."""
    rng = np.random.default_rng([seed, 55])
    game = _game(seed)
    try:
        while True:
            _settle(rng, game)
            clip = _film(rng, game, frames, height, width)
            if clip is not None:
                return clip
            _enter(game)
    finally:
        game.close()


def _film(
    rng: np.random.Generator, game: DoomGame, frames: int, height: int, width: int
) -> Clip | None:
    """A walk or a look round from where the player stands; None if the game ends on the way."""
    rgb, depth = [], []
    pace, side = rng.choice([0, 1, 1, 1]), rng.choice([0, 0, 0, 1])
    turn = rng.normal() * 1.5
    for _ in range(frames):
        if game.is_episode_finished():
            return None
        picture, metres = _look(game, height, width)
        rgb.append(picture)
        depth.append(metres)
        ahead = float(np.median(metres[:, width // 2 - 20 : width // 2 + 20]))
        game.make_action([float(pace and ahead > 2.0), float(turn), float(side)], 2)
    return Clip(np.stack(rgb), np.stack(depth))


def _enter(game: DoomGame) -> None:
    game.new_episode()
    game.send_game_command("god")


def _game(seed: int) -> DoomGame:
    game = DoomGame()
    game.set_doom_game_path(str(Path(vizdoom.__file__).parent / "freedoom2.wad"))
    game.set_doom_map(f"map{MAPS[seed % len(MAPS)]}")
    game.set_doom_config_path(str(Path(tempfile.gettempdir()) / "foreign_clips_doom.ini"))
    game.set_sectors_info_enabled(True)
    game.set_screen_resolution(ScreenResolution.RES_640X400)
    game.set_screen_format(ScreenFormat.RGB24)
    game.set_depth_buffer_enabled(True)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_render_hud(False)
    game.set_render_crosshair(False)
    game.set_render_weapon(False)
    game.set_render_screen_flashes(False)
    game.set_available_buttons(
        [Button.MOVE_FORWARD, Button.TURN_LEFT_RIGHT_DELTA, Button.MOVE_RIGHT]
    )
    game.set_episode_timeout(0)
    game.set_seed(seed + 1)
    game.init()
    _enter(game)
    return game


def _look(game: DoomGame, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its depth in metres at half the rendered size, the middle rows."""
    state = game.get_state()
    cut = (400 - 2 * height) // 2
    picture = state.screen_buffer[cut : cut + 2 * height].astype(np.float32)
    picture = picture.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    steps = state.depth_buffer[cut : cut + 2 * height].astype(np.float32)
    steps = steps.reshape(height, 2, width, 2).transpose(0, 2, 1, 3).reshape(height, width, 4)
    smooth = np.ptp(steps, axis=2) <= 2
    value = np.where(smooth, steps.mean(axis=2), steps.min(axis=2))
    metres = (value + OFFSET) / STEPS_PER_UNIT / UNITS_PER_METRE
    metres[(steps == SKY).all(axis=2)] = np.inf
    metres[value < COARSE] = 0.0
    return (picture + 0.5).astype(np.uint8), metres.astype(np.float32)


def _settle(rng: np.random.Generator, game: DoomGame) -> None:
    """Go to random places and look round until a picture is bright and deep enough."""
    sectors = [s for s in game.get_state().sectors if s.ceiling_height - s.floor_height >= 72]
    for _ in range(PLACES):
        lines = sectors[int(rng.integers(len(sectors)))].lines
        ends = np.array([[(line.x1, line.y1), (line.x2, line.y2)] for line in lines])
        x, y = ends.mean(axis=(0, 1)) + rng.normal(size=2) * 24
        game.send_game_command(f"warp {x:.0f} {y:.0f}")
        game.make_action([0.0, float(rng.uniform(0, 360)), 0.0], 1)
        if game.is_episode_finished():  # an exit, or something deadly
            _enter(game)
            continue
        for _ in range(HEADINGS):
            game.make_action([0.0, 360 / HEADINGS, 0.0], 1)
            if game.is_episode_finished():
                _enter(game)
                break
            picture, metres = _look(game, 192, 320)
            near, far = np.quantile(metres.clip(0, 60), [0.1, 0.9])
            if picture.mean() > 35 and near > 0.9 and far / near > 3:
                return
