"""Files of a model that were copied by hand: from another machine, or out of a cache."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.manifest import sha256_of
from depthcrafter_cli.models.offers import Offer, OnBytes, fault
from depthcrafter_cli.models.registry import HubFile

_BLOCK_BYTES = 1 << 20


class GivenFiles:
    """Files, and all JSON and safetensors files in and below folders.

    A folder may be a model folder of this program, a copy of the hub's repositories, or a cache of
    huggingface_hub. A file with a pinned SHA-256 is known by that, whatever it is called.

    Raises WeightsError for a path with nothing there.
    """

    def __init__(self, given: Sequence[Path]) -> None:
        self._given = given
        self._files = [path for place in given for path in _files_of(place)]

    def offers(self, files: Sequence[HubFile]) -> list[Offer]:
        """The given files that are the wanted ones. Raises WeightsError that names all lacking."""
        found = {file: self._find(file, files) for file in files}
        lacking = [
            f"{file.target}{f' ({reason})' if reason else ''}"
            for file, reason in found.items()
            if not isinstance(reason, Path)
        ]
        if lacking:
            raise WeightsError(
                f"{', '.join(map(str, self._given))} lacks {', '.join(lacking)}, expected all "
                f"{len(files)} files of the model: add what is lacking to `given`, or pull "
                "without it."
            )
        return [
            Offer(file, str(path), path.stat().st_size, file.sha256 or sha256_of(path), True)
            for file, path in found.items()
            if isinstance(path, Path)
        ]

    def fetch(self, offer: Offer, partial: Path, on_bytes: OnBytes) -> None:
        """Copy a file: a link to it would share whatever is done to it later."""
        done = 0
        with Path(offer.place).open("rb") as source, partial.open("wb") as copy:
            while block := source.read(_BLOCK_BYTES):
                done += copy.write(block)
                on_bytes(done)

    def _find(self, file: HubFile, files: Sequence[HubFile]) -> Path | str:
        """The given file that is the wanted one, or why none is: empty if none has its name."""
        reason = ""
        named = [path for path in self._files if _is_named(path, file, files)]
        # Named ones first, so that no other file is read in vain.
        for path in named if file.sha256 is None else dict.fromkeys((*named, *self._files)):
            size = path.stat().st_size
            if file.sha256 is None:
                why = f"{path} is too large" if size > file.most_bytes else fault(file, path)
            elif size != file.size:
                why = f"{path} has {size:,} bytes, expected {file.size:,}"
            else:
                why = None if sha256_of(path) == file.sha256 else f"{path} has another SHA-256"
            if why is None:
                return path
            if path in named:
                reason = reason or why
        return reason


def _files_of(place: Path) -> Iterator[Path]:
    if not place.exists():
        raise WeightsError(
            f"there is no {place}, expected a folder or files of the model: check the path."
        )
    if place.is_file():
        yield place
    for pattern in ("*.safetensors", "*.json") if place.is_dir() else ():
        yield from (path for path in sorted(place.rglob(pattern)) if path.is_file())


def _is_named(path: Path, file: HubFile, files: Sequence[HubFile]) -> bool:
    """Whether a path ends as a file does in our folder, or as in a copy of its repository."""
    target, original = PurePosixPath(file.target), PurePosixPath(file.path)
    if path.parts[-len(target.parts) :] == target.parts:
        return True
    folders = {PurePosixPath(other.target).parent.name for other in files}
    ends = path.parts[-len(original.parts) :] == original.parts
    return ends and (len(original.parts) > 1 or path.parent.name not in folders)
