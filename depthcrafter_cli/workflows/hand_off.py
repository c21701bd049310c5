"""Results laid out for the programs that read them: one entry of :data:`_LAYOUTS` a program."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from depthcrafter_cli.disk import derived
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.image_sequence import files_of
from depthcrafter_cli.media.images import is_picture
from depthcrafter_cli.media.numbered import NUMBER, by_pattern, is_pattern, without_places
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.sinks.registry import is_numbered
from depthcrafter_cli.media.sound import has_sound
from depthcrafter_cli.progress import Warn
from depthcrafter_cli.types import ValueRange
from depthcrafter_cli.workflows.request import RunRequest

_PREVIEWS = (".preview.gif", ".sheet.jpg")


@dataclass(frozen=True)
class _Layout:
    """What a program expects below the folder it is given.

    ``outputs`` are names with ``{name}``, the video's, and ``{images}``, the pattern of its images'
    names. ``look`` is what it can read. ``beside`` are the names of files of text.
    """

    outputs: tuple[str, ...]
    look: Mapping[str, Any] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


_LAYOUTS: Mapping[str, _Layout] = {
    # Its depth tab reads the luma of NAME_depth.mp4, 10 bits of it where the pixels have them.
    "stereocrafter": _Layout(("{name}_depth.mp4",), {"codec": "hevc-10"}),
    # Import of iw3: pictures and depth by the same numbers, and a list of what there is.
    "iw3": _Layout(
        ("{name}/depth/%08d.png", "{name}/rgb/%08d.jpg", "{name}/audio.m4a"),
        {"start_number": "0"},
        ("{name}/iw3_export.yml",),
    ),
    # Inria's trainer reads depths/ by its -d beside images/, 65536 as 1.
    "3dgs": _Layout(("depths/{images}.png", "depth.npz")),
    # Z becomes depth.Z, of which ZDefocus takes larger for nearer by default.
    "nuke": _Layout(("{name}_depth/{name}_depth.%04d.exr",)),
    # Depth maps of effects and of Fusion: 1 is the foreground.
    "resolve": _Layout(("{name}_depth.mov",), {"codec": "prores-4444", "colormap": "gray"}),
    # It takes no channel alone for a picture but Y.
    "blender": _Layout(
        ("{name}_depth/{name}_depth_%04d.exr",), {"exr_channel": "Y", "exr_normalized": True}
    ),
    # VideoHelperSuite reads by FFmpeg, 16 bits of gray without loss among others.
    "comfyui": _Layout(("{name}_depth.mkv",), {"codec": "ffv1"}),
}


def laid_out(request: RunRequest) -> RunRequest:
    """The request with the outputs that its ``consumer`` and ``preview`` add, and their look.

    One that is laid out already stays as it is.

    Raises UsageError for a look that the consumer cannot read and for an output that is no folder,
    InputError for an input that it has no use for.
    """
    if request.consumer is not None and request.outputs:
        layout = _LAYOUTS[request.consumer]
        if _is_folder(request.outputs):
            request = _for_consumer(request, layout)
        elif not _is_laid_out(request, layout):
            raise UsageError(
                f'got {request.outputs[0]} with `consumer="{request.consumer}"`, expected one '
                "folder for all that it reads: name that."
            )
    if request.preview and request.outputs:
        first = _named_by_files(request.outputs[0])
        previews = [derived(first, suffix) for suffix in _PREVIEWS]
        more = tuple(path for path in previews if path not in request.outputs)
        request = replace(request, outputs=(*request.outputs, *more))
    return request


def _is_folder(outputs: tuple[Path, ...]) -> bool:
    return len(outputs) == 1 and (outputs[0].is_dir() or not outputs[0].suffix)


def _is_laid_out(request: RunRequest, layout: _Layout) -> bool:
    own = Path(layout.outputs[0].format(**_names(request))).parts
    return request.outputs[0].parts[-len(own) :] == own


def _named_by_files(out: Path) -> Path:
    """An output by the name that what lies beside it begins with."""
    if not is_numbered(out):
        return out
    folder = out.absolute().parent
    return folder.with_name(f"{folder.name}.{without_places(out.stem)}".rstrip("."))


def _for_consumer(request: RunRequest, layout: _Layout) -> RunRequest:
    look, source = {}, request.video
    if request.per_shot:
        raise UsageError(
            f'got `per_shot` with `consumer="{request.consumer}"`, which reads one video, expected '
            "one of them: leave the other out."
        )
    for name, value in layout.look.items():
        asked, usual = getattr(request, name), getattr(RunRequest(source, ()), name)
        if asked not in (usual, value):
            raise UsageError(
                f'got `{name}={asked}` with `consumer="{request.consumer}"`, expected '
                f"{value}, which it reads: leave `{name}` out."
            )
        look[name] = value
    folder, names = request.outputs[0], _names(request)
    outputs = [folder / out.format(**names) for out in layout.outputs]
    outputs = [out for out in outputs if out.suffix != ".m4a" or gives_sound(request, "mp4")]
    return replace(request, outputs=tuple(outputs), **look)


def gives_sound(request: RunRequest, container: str | None = None) -> bool:
    """Whether a request's video has sound to go on, which a container of FFmpeg's name holds.

    Raises InputError.
    """
    images = not request.video.is_file() or is_picture(request.video)
    return not images and request.audio == "copy" and has_sound(request.video, container)


def _names(request: RunRequest) -> dict[str, str]:
    """What stands for the video, and for its images, in names."""
    source = request.video
    named = source.resolve() if not source.name.strip(".") else source
    name = named.name if named.is_dir() else without_places(named.stem)
    names = {"name": name or named.absolute().parent.name, "images": ""}
    if request.consumer == "3dgs":
        patterns = by_pattern(files_of(source)) if source.is_dir() or is_pattern(source) else {}
        pattern = next(iter(patterns), "")
        if len(patterns) != 1 or not NUMBER.search(pattern):
            raise InputError(
                f'{source} with `consumer="3dgs"` is no folder of images numbered in their names, '
                "expected the images that COLMAP saw, such as scene/images: give that folder."
            )
        names["images"] = Path(pattern).stem
    return names


def labels_for(request: RunRequest, values: ValueRange) -> dict[str, str]:
    """Texts that a consumer looks for in pictures."""
    if request.consumer != "iw3":
        return {}
    return {
        "iw3_min_depth_value": repr(float(values.low)),
        "iw3_max_depth_value": repr(float(values.high)),
    }


def beside(request: RunRequest) -> list[Path]:
    """The files of text that a consumer wants beside the outputs."""
    if request.consumer is None or not request.outputs:
        return []
    layout = _LAYOUTS[request.consumer]
    top = request.outputs[0].parents[len(Path(layout.outputs[0]).parts) - 1]
    # As the outputs have it: what came by standard input lies in a file of another name by now.
    name = request.outputs[0].relative_to(top).parts[0]
    return [top / each.format(name=name) for each in layout.beside]


def write_beside(
    request: RunRequest, metadata: Mapping[str, Any], published: Published, warn: Warn
) -> None:
    """Write the files of text that a consumer wants beside the outputs. Raises OutputError.

    ``warn`` is told of sound that the consumer does not get.
    """
    for path in beside(request):
        export = _export_of_iw3(request, path.parent.name, metadata)
        published.write_whole(path, export.encode())
        if not _sounds(request) and gives_sound(request):
            warn(
                f"{path.parent} is without the sound of {request.video}, which no .m4a can hold or "
                "which came by standard input: convert it to AAC, and give both to the program."
            )


def _sounds(request: RunRequest) -> list[str]:
    return [out.name for out in request.outputs if out.suffix == ".m4a"]


def _export_of_iw3(request: RunRequest, name: str, metadata: Mapping[str, Any]) -> str:
    """What iw3's import reads first: which folders hold what."""
    depth, rate = request.outputs[0].parent.name, Fraction(metadata["rate"])
    lines = [
        "type: video",
        f"basename: {_quoted(name)}",
        f'fps: "{rate.numerator}/{rate.denominator}"',
        "rgb_dir: rgb",
        f"depth_dir: {depth}",
        *(f"audio_file: {name}" for name in _sounds(request)),
        "mapper: none",
        "skip_mapper: true",
        "skip_edge_dilation: true",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text as YAML reads it back."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
