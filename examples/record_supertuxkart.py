"""Record clips with true depth from SuperTuxKart, for sources of the kind "folder" in a recipe.

    pip install PySuperTuxKart2
    python examples/record_supertuxkart.py game --clips 100 --size 256x128

The game drives a kart without a body round every track. A clip is what the kart's camera sees
ahead, or now and then to another side. Where the game's data are not yet, PySuperTuxKart2 fetches
them; ``--data /usr/share/games/supertuxkart/data`` takes those of Debian's supertuxkart-data. It
draws by EGL, on a CPU as well: a hundred pictures of a track take from ten seconds to a minute.
"""

import multiprocessing
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from platformdirs import user_cache_dir

TRACKS = [
    "abyss", "black_forest", "candela_city", "cocoa_temple", "cornfield_crossing", "fortmagma",
    "gran_paradiso_island", "hacienda", "lighthouse", "mines", "minigolf", "olivermath",
    "ravenbridge_mansion", "sandtrack", "scotland", "snowmountain", "snowtuxpeak",
    "stk_enterprise", "volcano_island", "xr591", "zengarden",
]  # fmt: skip
VERSION = "1.5"  # of the game inside PySuperTuxKart2
UNSEEN = "unseen"  # the kart without a body
LARGER = 1.5  # than a clip are the pictures it is cut from
PATIENCE = 100  # steps of the game for a clip, on average, before the rest of a track is left

Vector = npt.NDArray[np.float64]


class Job(NamedTuple):
    """``size`` is width and height, ``end`` the track's far plane in multiples of the near one."""

    track: str
    clips: int
    frames: int
    size: tuple[int, int]
    seed: int
    end: float

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, *self.size, *self.track.encode()])

    def folder(self, out: Path, number: int) -> Path:
        width, height = self.size
        return out / f"{self.track}-{width}x{height}-{self.seed}-{number:04d}"


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the clips.")],
    clips: Annotated[int, typer.Option(min=1, help="Of every track.")] = 50,
    frames: Annotated[int, typer.Option(min=1, help="Of every clip, 25 a second.")] = 1,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT.")] = "256x128",
    track: Annotated[list[str], typer.Option(help="Again for more.")] = TRACKS,
    seed: int = 0,
    data: Annotated[Path | None, typer.Option(help="The game's folder of data.")] = None,
) -> None:
    """Record clips of SuperTuxKart's tracks."""
    width, height = map(int, size.split("x"))
    found = data or Path(user_cache_dir("PySuperTuxKart2", "bpiwowar")) / VERSION / "data"
    if not (found / "tracks").is_dir():
        import pystk2  # noqa: F401 - fetches the data when it is imported
    with tempfile.TemporaryDirectory() as folder:
        take_bodies_away(found, Path(folder) / "data")
        os.environ["SUPERTUXKART_DATADIR"] = folder
        # Mesa's renderer for CPUs may never return from anisotropic filters.
        without = " ".join(f"-GL_{who}_texture_filter_anisotropic" for who in ("EXT", "ARB"))
        os.environ.setdefault("MESA_EXTENSION_OVERRIDE", without)
        for name in track:
            scene = (found / "tracks" / name / "scene.xml").read_text()
            far = re.search(r'<camera far="([\d.]+)"', scene)  # the near plane is at 1
            job = Job(name, clips, frames, (width, height), seed, float(far[1] if far else 1000))
            # The game has one size a process, and some tracks end it.
            process = multiprocessing.get_context("spawn").Process(target=record, args=(job, out))
            process.start()
            process.join()
            made = sum(job.folder(out, number).is_dir() for number in range(clips))
            typer.echo(f"{name}: {made} clips")


def record(job: Job, out: Path) -> None:
    """Write the clips of one track, each into a folder of its own."""
    for number, (pictures, depths) in enumerate(drive(job)):
        # The buffer is linear in inverse depth: 0 at the near plane, 1 at the far one and beyond.
        inverse = (1 - depths) * (1 - 1 / job.end) + 1 / job.end
        inverse[depths > 1 - 1e-6] = 0
        home = job.folder(out, number)
        (home / "rgb").mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(home / "rgb" / f"{index:04d}.png")
        np.savez_compressed(home / "disparity.npz", disparity=inverse.astype(np.float32))


def drive(job: Job) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Pictures, uint8 [H, W, 3] each, and depth buffers [T, H, W] of places along the track."""
    rng, step = job.rng, 0.2 if job.frames == 1 else 0.04  # seconds
    race, state = start(job, rng, step)
    last, made = np.full(3, np.inf), 0
    for _ in range(job.clips * PATIENCE):
        race.step()
        state.update()
        here, turned = np.array(state.karts[0].location), np.array(state.karts[0].rotation)
        if np.linalg.norm(here - last) < rng.uniform(2, 12):  # metres
            continue
        last, aside = here, rng.random() < 0.35
        if aside:
            angle = rng.normal() * 0.6 if rng.random() < 0.5 else rng.uniform(0, 2 * np.pi)
            place(state, here, above=rng.uniform(0.5, 1.5), rotation=after(turned, angle))
            for _ in range(round(0.4 / step)):  # until the camera has followed
                race.step()
        pictures, depths = look(race, job, rng)
        if aside:
            place(state, here, above=0.4, rotation=after(turned, 0), speed=8.0)
        # Seen from below the ground, through which a kart may fall, nothing near is at the bottom.
        if np.median(1 - depths[:, -job.size[1] // 8 :]) > 0.03:
            yield pictures, depths
            made += 1
        if made == job.clips:
            return


def start(job: Job, rng: np.random.Generator, step: float) -> tuple[Any, Any]:
    """A race that has begun, and its state. The first kart is the one without a body."""
    import pystk2

    graphics = pystk2.GraphicsConfig.sd()
    graphics.screen_width, graphics.screen_height = (round(side * LARGER) for side in job.size)
    for costly in ("ssao", "mlaa", "motionblur", "bloom", "dof", "glow", "light_shaft"):
        setattr(graphics, costly, False)
    graphics.texture_compression, graphics.degraded_IBL = False, True
    graphics.particles_effects = 0
    pystk2.init(graphics)
    config = pystk2.RaceConfig(
        track=job.track, laps=20, overlay=False, step_size=step, num_cameras=0,
        num_kart=int(rng.integers(2, 9)), seed=int(rng.integers(1 << 20)),
        reverse=bool(rng.random() < 0.3),
    )  # fmt: skip
    karts = [kart for kart in pystk2.list_karts() if kart != UNSEEN]
    config.players[0].kart = UNSEEN
    for _ in range(config.num_kart - 1):
        config.players.append(pystk2.PlayerConfig(kart=str(rng.choice(karts))))
    modes = pystk2.PlayerConfig.CameraMode
    for number, player in enumerate(config.players):
        player.controller = pystk2.PlayerConfig.Controller.AI_CONTROL
        player.camera_mode = modes.OFF if number else modes.ON
    race, state = pystk2.Race(config), pystk2.WorldState()
    race.start()
    while state.phase != pystk2.WorldState.Phase.RACE_PHASE:
        race.step()
        state.update()
    return race, state


def look(race: Any, job: Job, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """The clip that begins now: all of what is drawn, or the same part of every frame."""
    (width, height), zoom = job.size, rng.uniform(1, LARGER) if rng.random() < 0.5 else 1.0
    wide, high = round(width * LARGER / zoom), round(height * LARGER / zoom)
    left = int(rng.integers(round(width * LARGER) - wide + 1))
    top = int(rng.integers(round(height * LARGER) - high + 1))
    rows = top + ((np.arange(height) + 0.5) * high / height).astype(int)
    columns = left + ((np.arange(width) + 0.5) * wide / width).astype(int)
    pictures, depths = [], []
    for number in range(job.frames):
        if number:
            race.step()
        seen = race.render_data[0]
        part = Image.fromarray(np.array(seen.image)[top : top + high, left : left + wide, :3])
        pictures.append(np.asarray(part.resize(job.size, Image.Resampling.LANCZOS)))
        depths.append(np.array(seen.depth)[rows][:, columns])
    return pictures, np.stack(depths)


def place(
    state: Any, where: Vector, *, above: float, rotation: tuple[float, ...], speed: float = 0.0
) -> None:
    x, y, z = map(float, where)
    state.set_kart_location(0, (x, y + above, z), rotation, speed)


def after(rotation: Vector, angle: float) -> tuple[float, ...]:
    """The quaternion w, x, y, z, then ``angle`` about its own upright, as x, y, z, w."""
    w, x, y, z = map(float, rotation)
    s, c = float(np.sin(angle / 2)), float(np.cos(angle / 2))
    return x * c - z * s, y * c + w * s, z * c + x * s, w * c - y * s


def take_bodies_away(data: Path, into: Path) -> None:
    """The game's data as links, with a kart and a rescuing bird of which nothing is drawn."""
    for part in ("", "karts", "models", "skins"):
        (into / part).mkdir(parents=True, exist_ok=True)
        for entry in (data / part).iterdir():
            if entry.name not in ("karts", "models", "skins"):
                (into / part / entry.name).symlink_to(entry.resolve())
    (into / f"supertuxkart.{VERSION}").touch()  # the data of 1.4 serve as well,
    if not (into / "skins/classic").exists():  # but for the look of menus
        shutil.copytree(data / "skins/peach", into / "skins/classic")
    nothing = without_triangles((data / "models/nitrotank-big-low.spm").read_bytes())
    bird, kart = into / "models/thunderbird.spm", into / "karts" / UNSEEN
    bird.unlink()
    bird.write_bytes(nothing)
    shutil.copytree(data / "karts/tux", kart)
    for model in kart.glob("*.spm"):
        model.write_bytes(nothing)
    Image.new("RGBA", (64, 64)).save(kart / "no_shadow.png")  # files are known by these names
    told = (kart / "kart.xml").read_text().replace("tux_shadow.png", "no_shadow.png")
    for element in ("headlights", "nitro-emitter"):
        told = re.sub(rf"<{element}>.*?</{element}>", "", told, flags=re.DOTALL)
    told = re.sub(r"<(animations|hat|exhaust)\b.*?/>", "", told, flags=re.DOTALL)
    (kart / "kart.xml").write_text(told)


def without_triangles(model: bytes) -> bytes:
    """A model in the game's SPM format, its vertices of 20 bytes, whose triangles are points."""
    changed, at = bytearray(model), 30  # after the header, the box and the number of materials
    for _ in range(2 * int.from_bytes(model[28:30], "little")):
        at += 1 + model[at]  # names of textures
    (sections,) = struct.unpack_from("<H", model, at)
    at += 2
    for _ in range(sections):
        (buffers,) = struct.unpack_from("<H", model, at)
        at += 2
        for _ in range(buffers):
            vertices, corners, _ = struct.unpack_from("<IIH", model, at)
            first = at + 10 + 20 * vertices
            at = first + corners * (1 if vertices < 256 else 2)
            changed[first:at] = bytes(at - first)
    return bytes(changed)


if __name__ == "__main__":
    typer.run(main)
