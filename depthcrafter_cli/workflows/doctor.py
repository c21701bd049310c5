"""What this machine has, what a run would use of it, and what is wrong with the remedy.

Each part is looked at on its own and for real, so that a broken one hides none of the others:
nothing is imported here that may be broken.
"""

import ctypes
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import depthcrafter_cli
from depthcrafter_cli.errors import DepthCrafterError, first_line

if TYPE_CHECKING:
    import torch

    from depthcrafter_cli.models.registry import ModelSpec

Level = Literal["ok", "warning", "fault"]

# As FFmpeg names them; the formats of cameras, phones, editors and the web.
_DECODERS = (
    "h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "prores", "dnxhd", "mjpeg", "ffv1",
)  # fmt: skip
_LIBRARIES = (
    "diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub", "numpy", "psutil",
)  # fmt: skip
_LITTLE_RAM, _LITTLE_DISK, _LITTLE_OF_A_GPU, _TOO_LITTLE_RAM = 4e9, 5e9, 3e9, 1e9  # bytes
_REINSTALL = "pip install --force-reinstall"
_FASTER = "pip install triton (on Windows triton-windows) makes runs faster"
_TAKEN_BY_AUTO = ("cuda:0", "mps")


@dataclass(frozen=True)
class Row:
    """What was found of one part of the machine.

    ``level`` is ``fault`` where a run could not work, ``warning`` where it works less well than it
    could. ``details`` are JSON values under the same names on every machine, empty where the part
    could not be looked at.
    """

    subject: str
    found: str
    level: Level = "ok"
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """How a part is looked at; ``broken`` and ``remedy`` are for one that cannot be.

    What ``needs`` another part is left out where that one is broken.
    """

    subject: str
    look: Callable[[], Iterable[Row]]
    remedy: str
    broken: Level = "fault"
    needs: str = ""


def diagnose() -> list[Row]:
    """All rows, in the order of :data:`PROBES`; whatever is broken is a row as well."""
    rows: list[Row] = []
    for probe in PROBES:
        if any(row.subject == probe.needs and row.level == "fault" for row in rows):
            continue
        try:
            rows += probe.look()
        except Exception as error:  # of any library, in any state
            rows.append(Row(probe.subject, _words(error), probe.broken, probe.remedy))
    return rows


def works(rows: Iterable[Row]) -> bool:
    """Whether a run can work on this machine."""
    return all(row.level != "fault" for row in rows)


def _words(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, DepthCrafterError):
        return str(error)
    return f"{type(error).__name__}: {first_line(error) or 'without words'}"


def _program() -> Iterator[Row]:
    version, place = depthcrafter_cli.__version__, Path(depthcrafter_cli.__file__).parent
    details = {
        "version": version, "folder": str(place), "python": platform.python_version(),
        "executable": sys.executable, "system": platform.platform(),
    }  # fmt: skip
    yield Row("program", f"depthcrafter {version} in {place}", details=details)
    yield Row("python", f"{details['python']}, {sys.executable}, on {details['system']}")


def _pytorch() -> Iterator[Row]:
    import torch

    cuda, hip = torch.version.cuda, torch.version.hip
    built = f"with CUDA {cuda}" if cuda else f"with ROCm {hip}" if hip else "without CUDA"
    details = {"version": torch.__version__, "cuda": cuda, "rocm": hip}
    yield Row("pytorch", f"{torch.__version__}, built {built}", details=details)


def _libraries() -> Iterator[Row]:
    from importlib import import_module
    from importlib.metadata import version

    versions: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            import_module(name)
            versions[name] = version(name)
        except Exception as error:
            yield Row("libraries", f"{name}: {_words(error)}", "fault", f"{_REINSTALL} {name}")
            return
    import_module("depthcrafter_cli.models.loading")  # what a run needs of them
    yield Row("libraries", ", ".join(" ".join(item) for item in versions.items()), details=versions)


def _driver() -> Iterator[Row]:
    """NVIDIA's driver, by its own library, whatever PyTorch is built with."""
    text = ctypes.create_string_buffer(96)
    try:
        library = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        status = library.nvmlInit_v2() or library.nvmlSystemGetDriverVersion(text, len(text))
    except (OSError, AttributeError):
        yield Row("driver", "no NVIDIA driver", details={"nvidia": None})
        return
    found = text.value.decode(errors="replace") or None
    if status or not found:
        yield Row(
            "driver", f"NVIDIA's driver does not answer (code {status})", "warning",
            "restart the machine; if that is no help, install the driver again",
            {"nvidia": None},
        )  # fmt: skip
        return
    yield Row("driver", f"NVIDIA {found}", details={"nvidia": found})


def _gpus() -> Iterator[Row]:
    import torch

    from depthcrafter_cli.models.devices import cuda_fault
    from depthcrafter_cli.models.drivers import nvidia_driver

    fault, count = cuda_fault(), 0
    if fault is None:
        for index in range(torch.cuda.device_count()):
            count += 1
            yield _card(torch.device("cuda", index))
    elif nvidia_driver():
        count += 1
        yield Row("gpu", fault.cause, "warning", fault.remedy)
    if torch.backends.mps.is_available():
        count += 1
        yield _gpu(torch.device("mps"), "Apple's GPU")
    for index in range(torch.xpu.device_count() if torch.xpu.is_available() else 0):
        count += 1
        yield _gpu(torch.device("xpu", index), str(torch.xpu.get_device_name(index)))
    if not count:
        yield Row("gpu", "none that PyTorch can use")


def _card(device: "torch.device") -> Row:
    """A CUDA device: NVIDIA's, or AMD's under ROCm."""
    import torch

    from depthcrafter_cli.memory.cards import is_slice

    properties = torch.cuda.get_device_properties(device)
    name, capability = properties.name, f"{properties.major}.{properties.minor}"
    told = f"{name}{', a part of a card' * is_slice(name)}, compute capability {capability}"
    more = {"capability": capability, "part_of_card": is_slice(name)}
    return _gpu(device, told, int(properties.total_memory), more)


def _gpu(
    device: "torch.device", name: str, total: int | None = None, more: dict[str, Any] | None = None
) -> Row:
    """One GPU: what is free of it, and whether it computes."""
    from depthcrafter_cli.models.device_memory import free_memory

    details: dict[str, Any] = {
        "device": str(device), "name": name, "total_bytes": total, "free_bytes": None,
        "capability": None, "part_of_card": False, "computes": False, **(more or {}),
    }  # fmt: skip
    try:
        free = details["free_bytes"] = free_memory(device)
        _compute(device)
        details["computes"] = True
    except Exception as error:  # of a driver or a library, in any words
        words = _words(error)
        remedy = "mend the driver, or leave this GPU out with `device`"
        if "no kernel image" in words:
            from depthcrafter_cli.models.devices import cuda_install

            remedy = f"install a PyTorch that has kernels for it: {cuda_install()}"
        level: Level = "fault" if str(device) in _TAKEN_BY_AUTO else "warning"
        return Row("gpu", f"{device}: {name}: {words}", level, remedy, details)
    room = "" if free is None else f", {free / 1e9:.1f}"
    room += "" if free is None or total is None else f" of {total / 1e9:.1f}"
    found = f"{device}: {name}{room}{' GB free' * bool(room)}"
    if free is not None and free < _LITTLE_OF_A_GPU:
        remedy = "close the programs that hold its memory; the published weights need about 3 GB"
        return Row("gpu", found, "warning", remedy, details)
    return Row("gpu", found, details=details)


def _compute(device: "torch.device") -> None:
    """A convolution and a product in half precision. Raises whatever they raise."""
    import torch

    picture = torch.ones(1, 8, 8, 8, dtype=torch.float16, device=device)
    result = torch.nn.functional.conv2d(picture, torch.ones_like(picture)[:, :, :3, :3])
    (result.flatten(1) @ result.flatten(1).T).cpu()


def _auto() -> Iterator[Row]:
    from depthcrafter_cli.models.devices import pick_device, pick_dtype
    from depthcrafter_cli.models.fused import fusion

    device, told = pick_device("auto"), list[str]()
    dtype = str(pick_dtype("auto", device, told.append)).removeprefix("torch.")
    why = {
        "cuda": "a GPU that CUDA or ROCm can use is here",
        "mps": "an Apple GPU is here",
        "cpu": "no GPU can be used; nano takes minutes here, the published weights days",
    }[device.type]
    fused, words = fusion(device.type)
    details = {"device": str(device), "dtype": dtype, "fused": fused is not None}
    found = " ".join([f"{device} in {dtype}: {why}; norms by {words}", *told])
    slower = device.type == "cuda" and fused is None
    yield Row("auto", found, "warning" if slower else "ok", _FASTER * slower, details)


def _ram() -> Iterator[Row]:
    from depthcrafter_cli.workflows.resources import ram

    memory = ram()
    details = {"available_bytes": memory.available, "total_bytes": memory.total}
    found = f"{memory.available / 1e9:.1f} GB for a run, the machine has {memory.total / 1e9:.1f}"
    if not memory.known:
        remedy = "mount /proc, or pass `max_ram` in GB"
        yield Row("ram", f"not told by this system; {found}, assumed", "warning", remedy, details)
    elif memory.available < _TOO_LITTLE_RAM:
        remedy = "close other programs, or raise the limit of the container or job"
        yield Row("ram", found, "fault", remedy, details)
    else:
        tight = memory.available < _LITTLE_RAM
        remedy = "close other programs: the published weights need more" if tight else ""
        yield Row("ram", found, "warning" if tight else "ok", remedy, details)


def _disk() -> Iterator[Row]:
    from depthcrafter_cli.models.weights import pull_root

    for use, place in (
        ("weights", pull_root()),
        ("temporary files", Path(os.environ.get("TMPDIR") or tempfile.gettempdir())),
        ("this folder", Path.cwd()),
    ):
        yield _place(use, place)


def _place(use: str, place: Path) -> Row:
    """A folder that is to be written to, or the one in which it will be made."""
    details: dict[str, Any] = {
        "use": use, "path": str(place), "free_bytes": None, "writable": False,
    }  # fmt: skip
    try:
        folder = next(path for path in (place, *place.parents) if os.path.lexists(path))
        free = details["free_bytes"] = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder):
            details["writable"] = True
    except (OSError, StopIteration) as error:
        words = getattr(error, "strerror", None) or "there is no such disk"
        remedy = "choose another folder, or change its permissions"
        return Row("disk", f"{use}, {place}: {words}", "warning", remedy, details)
    found = f"{use}, {place}: {free / 1e9:.1f} GB free"
    if free < _LITTLE_DISK:
        remedy = "free some space: the published weights take 4.5 GB, a film's state more"
        return Row("disk", found, "warning", remedy, details)
    return Row("disk", found, details=details)


def _video() -> Iterator[Row]:
    import av
    from av.codec import Codec

    from depthcrafter_cli.media.look import CODECS

    encoder = CODECS["h264"].encoder

    def has(name: str, mode: Literal["r", "w"]) -> bool:
        try:
            return bool(Codec(name, mode))
        except ValueError:
            return False

    lacking = [name for name in _DECODERS if not has(name, "r")]
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    details = {
        "pyav": av.__version__,
        "libavcodec": ffmpeg,
        "decoders": [name for name in _DECODERS if name not in lacking],
        "encoder": encoder if has(encoder, "w") else None,
    }
    found = f"PyAV {av.__version__} with FFmpeg's libavcodec {ffmpeg}, reads "
    found += ", ".join(details["decoders"])
    if lacking:
        remedy = f"{_REINSTALL} av, or convert such videos to H.264 first"
        yield Row("video", f"{found}; not {', '.join(lacking)}", "warning", remedy, details)
    elif details["encoder"] is None:
        remedy = f"{_REINSTALL} av, or write PNG and NPZ"
        yield Row("video", f"{found}; {encoder} is missing, so no MP4", "warning", remedy, details)
    else:
        yield Row("video", f"{found}; writes H.264", details=details)


def _outputs() -> Iterator[Row]:
    from depthcrafter_cli.depth.colorize import check_colormap
    from depthcrafter_cli.media import spool  # noqa: F401  # with its compression
    from depthcrafter_cli.media.sinks.registry import formats_here

    check_colormap("inferno")
    yield Row("outputs", formats_here())


def _weights() -> Iterator[Row]:
    from depthcrafter_cli.models.layout import DEPTHCRAFTER_LAYOUT
    from depthcrafter_cli.models.registry import MODELS
    from depthcrafter_cli.models.weights import find_installed, find_weights

    for spec in MODELS.values():
        # Of the models of other methods, those that are here.
        if spec.layout == DEPTHCRAFTER_LAYOUT or find_installed(spec) is not None:
            yield _model(spec)
    chosen = find_weights()
    details = {"chosen": chosen.spec.name, "path": str(chosen.path)}
    told = f"a run takes {chosen.spec.name} unless `weights` says otherwise"
    yield Row("weights", told, details=details)


def _model(spec: "ModelSpec") -> Row:
    """A registered model: where it is, and whether its files have the sizes they should have."""
    from depthcrafter_cli.models.manifest import read_manifest
    from depthcrafter_cli.models.weights import find_installed, pull_command

    found = find_installed(spec)
    details: dict[str, Any] = {"name": spec.name, "path": None, "damaged": []}
    if found is None:
        if not spec.sources:
            return Row("weights", f"{spec.name} was not found", "warning", _AGAIN, details)
        remedy = f"{pull_command(spec.name)} gets them"
        return Row("weights", f"{spec.name} is not on this machine", "ok", remedy, details)
    manifest = read_manifest(found.path)
    records = manifest.files if manifest else {}
    damaged = [
        name for name, record in records.items()
        if not (found.path / name).is_file() or (found.path / name).stat().st_size != record.size
    ]  # fmt: skip
    details |= {"path": str(found.path), "damaged": damaged}
    if damaged:
        told = f"{spec.name} in {found.path} is damaged: {', '.join(damaged)}"
        remedy = pull_command(spec.name) if spec.sources else "install depthcrafter again"
        return Row("weights", told, "fault", remedy, details)
    told = f"{spec.name} in {found.path}{', files of the right size' * bool(manifest)}"
    return Row("weights", told, details=details)


_AGAIN = f"{_REINSTALL} ., in depthcrafter's folder"
_TORCH = (
    "install PyTorch again (docs/install.md); on Windows it needs Microsoft's "
    "Visual C++ Redistributable"
)

PROBES = (
    Probe("program", _program, _AGAIN),
    Probe("pytorch", _pytorch, _TORCH),
    Probe("libraries", _libraries, _AGAIN, needs="pytorch"),
    Probe("driver", _driver, "install NVIDIA's driver again", "warning"),
    Probe("gpu", _gpus, 'install PyTorch again, or use `device="cpu"`', "warning", "pytorch"),
    Probe("auto", _auto, "choose by `device` and `dtype`", "fault", "pytorch"),
    Probe("ram", _ram, "pass `max_ram` in GB", "warning"),
    Probe("disk", _disk, "set DEPTHCRAFTER_WEIGHTS to a folder on a disk with room", "warning"),
    Probe("video", _video, f"{_REINSTALL} av"),
    Probe("outputs", _outputs, f"{_REINSTALL} matplotlib pillow numcodecs", needs="video"),
    Probe("weights", _weights, "mend the folder it names, or set DEPTHCRAFTER_WEIGHTS to another"),
)
