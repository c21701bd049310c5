"""The record a run leaves beside its first output: enough to repeat it, to cite it, to check it."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import depthcrafter_cli
from depthcrafter_cli.disk import derived
from depthcrafter_cli.errors import DepthCrafterError, InputError, OutputError
from depthcrafter_cli.media.files import output_errors
from depthcrafter_cli.media.image_sequence import files_of
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.models.weights import find_weights
from depthcrafter_cli.progress import Warn
from depthcrafter_cli.structured import content_errors, json_object
from depthcrafter_cli.workflows.memory import facts
from depthcrafter_cli.workflows.request import RunRequest

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.run_plan import RunPlan

_SAMPLE_BYTES = 1 << 20
_PROGRAM = f"depthcrafter {depthcrafter_cli.__version__}"


def describe(plan: "RunPlan") -> dict[str, Any]:
    """What disparity is computed from, and how, as plain JSON values."""
    request, variant = plan.request, plan.weights.variant
    return {
        "program": _PROGRAM,
        "disparity": "affine-invariant, larger is nearer",
        "input": identity(request.source),
        "rate": str(plan.rate),
        "source_size": str(plan.info.size),
        "model_size": str(plan.model_size),
        "model": variant.name,
        "weights_sha256": plan.weights.hashes(),
        "licences": [f"{licence.title}: {licence.url}" for licence in variant.licences],
        "non_commercial": variant.non_commercial,
        "settings": asdict(plan.config),
        "memory": facts(plan.memory),
        "reference": request.reference,
        "device": plan.device.split(":")[0],
        "dtype": plan.dtype,
    }


def record_path(request: RunRequest) -> Path | None:
    """The JSON record beside the first output."""
    first = request.first_output
    return derived(first, ".json") if request.record else None


def check_record(request: RunRequest, *, overwrite: bool) -> None:
    """Raises OutputError if the record's name is taken and ``overwrite`` is off."""
    path = record_path(request)
    if path is not None and path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists, expected a free name for the run's record: "
            "pass --overwrite, or --no-record."
        )


def write_record(request: RunRequest, record: dict[str, Any], published: Published) -> None:
    """Write the record of finished outputs under its final name in one step."""
    path = record_path(request)
    if path is None:
        return
    with output_errors(path):
        made = [identity(out) for out in request.outputs]
    whole = {**record, "request": request.to_json(), "outputs": made}
    published.write_whole(path, (json.dumps(whole, indent=2) + "\n").encode())


def is_complete(request: RunRequest, warn: Warn) -> bool:
    """Whether this very request has been carried out on this very input and nothing was changed.

    By the record and by the contents of the files, not by their names. Where all but the weights
    or the program is the same, ``warn`` gets a sentence. A result of another version is complete
    unless it may be overwritten: most versions change no result, and a night's work is not thrown
    away unasked.

    Raises WeightsError if a result can be compared with no weights, as they are missing.
    """
    path = record_path(request)
    if path is None:
        return False
    try:
        with content_errors(path, OutputError, "expected a run's record: move it away"):
            record = json_object(path)
            program, weights = record["program"], record["weights_sha256"]
            same = (
                not request.differences(record["request"])
                and record["input"] == identity(request.source)
                and record["outputs"] == [identity(out) for out in request.outputs]
            )
    except DepthCrafterError:  # no record, none of ours, or of values there are no more
        return False
    if not same:
        return False
    if weights != find_weights(request.weights).hashes():
        warn(f"{request.outputs[0]} was made with other weights than those that are here now.")
        return False
    if program != _PROGRAM and not request.overwrite:
        warn(
            f"{request.outputs[0]} was made by {program} and is taken as complete, though this is "
            f"{_PROGRAM}: --overwrite makes it again."
        )
    return program == _PROGRAM or not request.overwrite


def require_unchanged(source: Path, facts: Mapping[str, Any]) -> None:
    """Raises InputError if the input is no longer what ``facts`` say that the run began with."""
    same = False
    with suppress(OSError):  # it is gone, or what it lies on
        same = identity(source) == facts["input"]
    if not same:
        raise changed_input(source)


def changed_input(source: Path) -> InputError:
    """What to say of an input that is another than the run began with."""
    return InputError(
        f"{source} is not what it was when the run began, expected the same video to the end: "
        "put it back and go on, or start again with --overwrite."
    )


def identity(path: Path) -> dict[str, Any]:
    """Path, size, date and a hash of the head and tail: cheap for a film of any length.

    For images, the files' names, sizes and dates are hashed.
    """
    place = str(path.absolute())
    if path.is_file():
        status = path.stat()
        digest = hashlib.sha256()
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, status.st_size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
        return {
            "path": place,
            "bytes": status.st_size,
            "modified": status.st_mtime,
            "sha256_head_tail": digest.hexdigest(),
        }
    files = files_of(path)
    listing = [(file.name, file.stat().st_size, file.stat().st_mtime) for file in sorted(files)]
    digest = hashlib.sha256(json.dumps(listing).encode())
    return {"path": place, "files": len(listing), "sha256_listing": digest.hexdigest()}
