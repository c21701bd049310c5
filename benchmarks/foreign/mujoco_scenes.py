"""MuJoCo models of four kinds of scene, as MJCF text with textures in memory."""

import io

import mujoco
import numpy as np
from PIL import Image

Rng = np.random.Generator
PRINTS = 10

_HEAD = """<mujoco>
<option timestep="0.0025" integrator="implicitfast"/>
<statistic extent="1" center="0 0 0"/>
<visual><map znear="0.05" zfar="120" fogstart="{fog}" fogend="110" shadowclip="12"/>
<global fovy="{fovy}" offwidth="640" offheight="480"/>
<quality shadowsize="1024"/><headlight ambient="{ambient}" diffuse="{head}" specular="0 0 0"/>
<rgba fog="{haze}"/></visual>
<asset><texture name="sky" type="skybox" builtin="gradient" rgb1="{top}" rgb2="{rim}" width="256"
 height="1536" mark="random" markrgb="1 1 1" random="0.002"/>
{assets}
<mesh name="egg" builtin="supersphere" params="16 0.6 1.4"/>
<mesh name="ring" builtin="supertorus" params="24 0.35 1 1"/>
<mesh name="cone" builtin="cone" params="24 0.1"/>
<hfield name="land" nrow="64" ncol="64" size="30 30 {tall} 1"/>
</asset>
<default><geom density="300" friction="0.8"/></default>
<worldbody>
<light directional="true" pos="0 0 20" dir="{sun}" diffuse="{bright}" castshadow="true"/>
{body}
</worldbody></mujoco>"""


def model_of(seed: int, rng: Rng) -> tuple[mujoco.MjModel, np.ndarray, float]:
    """A model, the point to look at and the distance to look at it from."""
    kind = (_heap, _land, _room, _yard)[seed % 4]
    body, target, away = kind(rng)
    level = np.exp(rng.uniform(np.log(0.25), 0))
    sky = (np.array([0.35, 0.55, 0.85]) + rng.normal(size=3) * 0.15).clip(
        0, 1
    ) * rng.random() ** 0.5
    sun = np.array([*rng.normal(size=2), -rng.uniform(0.4, 1.5)])
    text = _HEAD.format(
        fog=rng.uniform(5, 40), fovy=rng.uniform(30, 75), ambient=_rgb(np.full(3, 0.35 * level)),
        head=_rgb(np.full(3, rng.choice([0.0, 0.4]) * level)), haze=_rgb(rng.random(3)) + " 1",
        top=_rgb(sky), rim=_rgb(sky + (1 - sky) * rng.uniform(0.2, 0.9)), tall=rng.uniform(0.5, 6),
        sun=_rgb(sun), bright=_rgb((0.6 + 0.4 * rng.random(3)) * level), body=body,
        assets="\n".join(_material(rng, number) for number in range(PRINTS)),
    )  # fmt: skip
    pictures = {f"print{number}.png": _print(rng) for number in range(PRINTS)}
    model = mujoco.MjModel.from_xml_string(text, pictures)
    model.hfield_data[:] = _ridges(rng, 64).ravel()
    return model, target, away


def _rgb(values: np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def _material(rng: Rng, number: int) -> str:
    texture = f'<texture name="t{number}" type="2d" file="print{number}.png"/>'
    if rng.random() < 0.35:
        marks = str(rng.choice(["none", "edge", "cross", "random"]))
        fill = str(rng.choice(["checker", "flat", "gradient"]))
        colours = [_rgb(rng.random(3)) for _ in range(3)]
        texture = (
            f'<texture name="t{number}" type="2d" builtin="{fill}" width="128" height="128" '
            f'rgb1="{colours[0]}" rgb2="{colours[1]}" mark="{marks}" markrgb="{colours[2]}"/>'
        )
    shine, repeat = rng.uniform(0, 0.8), np.exp(rng.uniform(np.log(0.15), np.log(2)))
    return texture + (
        f'<material name="m{number}" texture="t{number}" texrepeat="{repeat:.2f} {repeat:.2f}" '
        f'texuniform="true" specular="{shine:.2f}" shininess="{rng.random():.2f}"/>'
    )


def _print(rng: Rng) -> bytes:
    """A PNG of random walkers' tracks or of wandering waves of colour."""
    side = 128
    image = np.ones((side, side, 3)) * rng.random(3)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(20, 200))):
            steps = np.cumsum(rng.integers(-1, 2, (300, 2)), axis=0) + rng.integers(side, size=2)
            image[steps[:, 0] % side, steps[:, 1] % side] = rng.random(3)
    else:
        rows, columns = np.mgrid[:side, :side] * 2 * np.pi / side
        for _ in range(6):
            wave = np.sin(rng.integers(1, 12) * rows + rng.integers(0, 12) * columns)
            image += 0.12 * wave[..., None] * (rng.normal() + 0.4 * rng.normal(size=3))
    file = io.BytesIO()
    Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _ridges(rng: Rng, side: int) -> np.ndarray:
    """Heights from 0 to 1: sums of random bumps, level in the middle."""
    rows, columns = np.mgrid[:side, :side] / side
    land = np.zeros((side, side))
    for _ in range(60):
        y, x, wide = rng.random(), rng.random(), rng.uniform(0.02, 0.2)
        land += rng.normal() * wide * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / wide**2)
    land *= np.hypot(rows - 0.5, columns - 0.5).clip(0, 0.5)
    return (land - land.min()) / np.ptp(land)


def _made(rng: Rng) -> str:
    return f'material="m{rng.integers(PRINTS)}"'


def _shape(rng: Rng, size: float) -> str:
    """One geom about its body's origin."""
    a, b, c = size * rng.uniform(0.35, 1.0, 3)
    kind = str(rng.choice(["box", "sphere", "capsule", "cylinder", "ellipsoid", "mesh", "mesh"]))
    if kind == "mesh":
        return f'<geom type="mesh" mesh="{rng.choice(["egg", "ring", "cone"])}" {_made(rng)}/>'
    return f'<geom type="{kind}" size="{a:.3f} {b:.3f} {c:.3f}" {_made(rng)}/>'


def _loose(rng: Rng, count: int, spread: float, low: float, high: float, size: float) -> str:
    """Bodies free to fall."""
    text = []
    for _ in range(count):
        x, y = rng.normal(size=2) * spread
        turn = _rgb(rng.uniform(-180, 180, 3))
        big = size * np.exp(rng.normal() * 0.4)
        geoms = "".join(_shape(rng, big) for _ in range(int(rng.integers(1, 3))))
        geoms = geoms.replace("/>", ' mass="1"/>')
        text.append(
            f'<body pos="{x:.2f} {y:.2f} {rng.uniform(low, high):.2f}" euler="{turn}">'
            f"<freejoint/>{geoms}</body>"
        )
    return "\n".join(text)


def _figure(rng: Rng, x: float, y: float, z: float) -> str:
    """A jointed doll of capsules that collapses, stumbles or stands, 1.2 to 1.9 m tall."""
    s = rng.uniform(1.2, 1.9) / 1.7
    skin, cloth = _made(rng), _made(rng)

    def limb(at: str, end: str, wide: float, below: str = "", made: str = cloth) -> str:
        return (
            f'<body pos="{at}"><joint type="ball" range="0 0.9" limited="true" damping="3" '
            f'stiffness="{rng.uniform(0, 60):.1f}"/>'
            f'<geom type="capsule" fromto="0 0 0 {end}" size="{wide * s:.3f}" {made}/>'
            f"{below}</body>"
        )

    def p(a: float, b: float, c: float) -> str:
        return f"{a * s:.3f} {b * s:.3f} {c * s:.3f}"

    parts = f'<geom type="sphere" pos="{p(0, 0, 0.72)}" size="{0.12 * s:.3f}" {skin}/>'
    parts += f'<geom type="ellipsoid" pos="{p(0, 0, 0.3)}" size="{p(0.13, 0.2, 0.3)}" {cloth}/>'
    for side in (-1, 1):
        shin = limb(p(0, 0, -0.42), p(0, 0, -0.4), 0.05, made=skin)
        parts += limb(p(0, side * 0.1, 0), p(0, 0, -0.42), 0.07, shin)
        hand = limb(p(0, 0, -0.28), p(0.1, 0, -0.24), 0.04, made=skin)
        parts += limb(p(0, side * 0.22, 0.5), p(0, 0, -0.28), 0.05, hand)
    turn = rng.uniform(0, 360)
    return (
        f'<body pos="{x:.2f} {y:.2f} {z + 0.9 * s:.2f}" euler="0 0 {turn:.0f}">'
        f"<freejoint/>{parts}</body>"
    )


def _heap(rng: Rng) -> tuple[str, np.ndarray, float]:
    """Things tumbling onto a floor, some walls behind."""
    body = f'<geom type="plane" size="60 60 1" {_made(rng)}/>'
    body += _loose(rng, int(rng.integers(8, 26)), 0.9, 0.3, 3.0, 0.25)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.normal(size=2) * 3
        size = _rgb(rng.uniform(0.2, 2.0, 3))
        body += f'<geom type="box" pos="{x:.2f} {y:.2f} 0.8" size="{size}" {_made(rng)}/>'
    return body, np.array([0, 0, rng.uniform(0.2, 0.8)]), rng.uniform(2.0, 6.0)


def _land(rng: Rng) -> tuple[str, np.ndarray, float]:
    """A height field with boulders, posts and dolls."""
    body = f'<geom type="hfield" hfield="land" {_made(rng)}/>'
    body += _loose(rng, int(rng.integers(4, 14)), 4.0, 4.0, 7.0, 0.7)
    for _ in range(int(rng.integers(4, 16))):
        x, y = rng.normal(size=2) * 7
        tall, wide = rng.uniform(3, 8), rng.uniform(0.05, 0.4)
        body += f'<geom type="cylinder" pos="{x:.2f} {y:.2f} 3" size="{wide:.2f} {tall:.2f}" '
        body += _made(rng) + "/>"
    for _ in range(int(rng.integers(1, 4))):
        body += _figure(rng, *rng.normal(size=2) * 2, 5.0)
    return body, np.array([0, 0, rng.uniform(4.0, 6.5)]), rng.uniform(4, 14)


def _room(rng: Rng) -> tuple[str, np.ndarray, float]:
    """Four walls seen from within, tables, shelves, dolls; the camera stays inside."""
    half = rng.uniform(4.5, 7)
    body = f'<geom type="plane" size="{half} {half} 1" {_made(rng)}/>'
    tall = rng.uniform(1.3, 2.2)
    for axis in range(2):
        for side in (-1, 1):
            at, size = [0.0, 0.0, tall], [half, half, tall]
            at[axis], size[axis] = side * half, 0.1
            body += f'<geom type="box" pos="{_rgb(np.array(at))}" size="{_rgb(np.array(size))}" '
            body += _made(rng) + "/>"
    if rng.random() < 0.6:
        body += f'<geom type="box" pos="0 0 {2 * tall:.2f}" size="{half} {half} 0.1" {_made(rng)}/>'
    body += f'<light pos="0 0 {1.8 * tall:.2f}" dir="0 0 -1" cutoff="89" diffuse="0.6 0.6 0.5"/>'
    for _ in range(int(rng.integers(4, 12))):
        x, y = rng.uniform(-0.85, 0.85, 2) * half
        size = rng.uniform(0.1, 0.7, 3)
        at = _rgb(np.array([x, y, size[2]]))
        body += f'<geom type="box" pos="{at}" size="{_rgb(size)}" {_made(rng)}/>'
    body += _loose(rng, int(rng.integers(2, 9)), 1.2, 0.5, 2.0, 0.2)
    for _ in range(int(rng.integers(0, 3))):
        body += _figure(rng, *rng.normal(size=2) * 1.0, 0.0)
    return body, np.array([0, 0, rng.uniform(0.5, 1.1)]), rng.uniform(2.0, 0.8 * half)


def _yard(rng: Rng) -> tuple[str, np.ndarray, float]:
    """Blocks as large as houses round an open place with dolls near the camera."""
    body = f'<geom type="plane" size="100 100 1" {_made(rng)}/>'
    for _ in range(int(rng.integers(6, 20))):
        angle, far = rng.uniform(0, 6.3), rng.uniform(12, 60)
        size = rng.uniform(1.5, 6, 3)
        at = _rgb(np.array([np.cos(angle) * far, np.sin(angle) * far, size[2]]))
        body += f'<geom type="box" pos="{at}" euler="0 0 {rng.uniform(0, 90):.0f}" '
        body += f'size="{_rgb(size)}" {_made(rng)}/>'
    for _ in range(int(rng.integers(1, 5))):
        body += _figure(rng, *rng.normal(size=2) * 1.5, 0.0)
    body += _loose(rng, int(rng.integers(0, 6)), 3.0, 0.5, 2.0, 0.35)
    return body, np.array([0, 0, rng.uniform(0.7, 1.4)]), rng.uniform(1.8, 7.0)
