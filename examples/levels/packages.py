"""What game packages (.pk3, which are zip files) hold: files, pictures, shaders."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 128  # texels of a texture, each way
MIPS = 4
PICTURES = (".jpg", ".tga", ".png")


class Packages:
    """All files of the packages in a folder; of two of one name, the later package's."""

    def __init__(self, folder: Path) -> None:
        self._index: dict[str, tuple[zipfile.ZipFile, str]] = {}
        for path in sorted(folder.rglob("*.pk3")):
            if zipfile.is_zipfile(path):
                package = zipfile.ZipFile(path)
                self._index |= {name.lower(): (package, name) for name in package.namelist()}
        self._shaders = self._read_shaders()
        self._textures: dict[str, np.ndarray | None] = {}

    def names(self, pattern: str) -> list[str]:
        """Names of files that match a regular expression from their start on."""
        return sorted(name for name in self._index if re.match(pattern, name))

    def read(self, name: str) -> bytes:
        """A file's content. Raises KeyError where no package has it."""
        package, inside = self._index[name.lower()]
        return package.read(inside)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._index

    def _read_shaders(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self.names(r".*\.shader$"):
            text = re.sub(r"//[^\n]*", "", self.read(path).decode("latin1"))
            depth, name, body = 0, "", []
            for line in (line.strip() for line in text.split("\n")):
                if depth == 0 and line and line[0] not in "{}":
                    name, body = line.split()[0].lower().rstrip("{"), []
                depth += line.count("{") - line.count("}")
                body.append(line)
                if depth == 0 and name and "}" in line:
                    found[name] = "\n".join(body)
        return found

    def texture(self, name: str) -> np.ndarray | None:
        """uint8 [SIDE, SIDE, 3] of a shader or picture, or None where no package has one."""
        if name not in self._textures:
            self._textures[name] = self._texture(name)
        return self._textures[name]

    def _texture(self, name: str) -> np.ndarray | None:
        picture = self._picture(name)
        if picture is None:
            for path in re.findall(
                r"(?:map|clampmap|qer_editorimage)\s+(\S+)",
                self._shaders.get(name.lower(), ""),
                re.I,
            ):
                picture = None if path[0] in "$*" else self._picture(path)
                if picture is not None:
                    break
        if picture is None:
            return None
        return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))

    def _picture(self, name: str) -> Image.Image | None:
        stem = re.sub(r"\.[a-z]+$", "", name.lower())
        for ending in PICTURES:
            if stem + ending in self:
                try:
                    return Image.open(io.BytesIO(self.read(stem + ending))).convert("RGB")
                except OSError:
                    return None
        return None

    def textures(self, names: list[str]) -> np.ndarray:
        """uint8 [n, SIDE, SIDE, 3]; one plain colour for each that is lacking."""
        found = []
        for name in names:
            texture = self.texture(name)
            if texture is None:
                colour = np.random.default_rng([*name.encode()]).uniform(40, 200, 3)
                texture = np.broadcast_to(colour.astype(np.uint8), (SIDE, SIDE, 3))
            found.append(texture)
        return np.stack(found)


def mipmaps(textures: np.ndarray) -> list[np.ndarray]:
    """Textures at full size and at halves of it, MIPS in all."""
    levels = [textures]
    for _ in range(MIPS - 1):
        fine = levels[-1]
        side = fine.shape[1] // 2
        levels.append(fine.reshape(len(fine), side, 2, side, 2, 3).mean((2, 4)).astype(np.uint8))
    return levels


def sample(
    levels: list[np.ndarray], number: np.ndarray, place: np.ndarray, mip: np.ndarray
) -> np.ndarray:
    """Colours float32 [n, 3], 0 to 255, of textures at places [n, 2] that repeat every 1."""
    colour = np.empty((len(number), 3), np.float32)
    for level, texels in enumerate(levels):
        here = np.flatnonzero(mip == level)
        if len(here):
            colour[here] = _bilinear(texels, number[here], place[here])
    return colour


def _bilinear(texels: np.ndarray, number: np.ndarray, place: np.ndarray) -> np.ndarray:
    side, flat = texels.shape[1], texels.reshape(-1, 3)
    start = np.floor(place * side - 0.5)
    x, y = (place * side - 0.5 - start).astype(np.float32)[..., None].transpose(1, 0, 2)
    left, top = start.astype(np.int64).T % side
    right, below = (left + 1) % side, (top + 1) % side
    base = number.astype(np.int64) * side * side
    upper = flat[base + top * side + left] * (1 - x) + flat[base + top * side + right] * x
    lower = flat[base + below * side + left] * (1 - x) + flat[base + below * side + right] * x
    result: np.ndarray = upper * (1 - y) + lower * y
    return result
