"""The record a run leaves beside its first output: enough to repeat it, to cite it, to check it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import DepthCrafterError, OutputError
from depthcrafter_cli.media.files import output_errors
from depthcrafter_cli.media.identity import identity
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.sinks.registry import shot_path
from depthcrafter_cli.methods.registry import method_named
from depthcrafter_cli.progress import Warn
from depthcrafter_cli.structured import content_errors, json_object
from depthcrafter_cli.workflows.provenance import program
from depthcrafter_cli.workflows.request import RunRequest


def write_record(request: RunRequest, record: dict[str, Any], published: Published) -> None:
    """Write the record of finished outputs under its final name in one step."""
    path = request.record_path
    if path is None:
        return
    with output_errors(path):
        made = [identity(out) for out in written(request, shots_in(record))]
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
    path = request.record_path
    if path is None:
        return False
    try:
        with content_errors(path, OutputError, "expected a run's record: move it away"):
            record = json_object(path)
            made_by, weights = record["program"], record["weights_sha256"]
            same = (
                request.same_result(record["request"])
                and record["input"] == identity(request.video)
                and record.get("cut_list", {}) == request.cut_list_identity()
                and record["outputs"]
                == [identity(out) for out in written(request, shots_in(record))]
            )
    except DepthCrafterError:  # no record, none of ours, or of values there are no more
        return False
    if not same:
        return False
    found = method_named(request.method).find(request.weights)
    if found is not None and weights != found.hashes():
        warn(f"{request.outputs[0]} was made with other weights than those that are here now.")
        return False
    if made_by != program() and not request.overwrite:
        warn(
            f"{request.outputs[0]} was made by {made_by} and is taken as complete, though this is "
            f"{program()}: `overwrite=True` makes it again."
        )
    return made_by == program() or not request.overwrite


def made_before(request: RunRequest) -> tuple[Path, ...]:
    """The outputs of a request for which :func:`is_complete`."""
    path = request.record_path
    return written(request, 1 if path is None else shots_in(json_object(path)))


def written(request: RunRequest, shots: int) -> tuple[Path, ...]:
    """The outputs of a video of so many shots. Raises UsageError for a name of no format."""
    if not request.per_shot:
        return request.outputs
    return tuple(shot_path(out, index) for out in request.outputs for index in range(shots))


def shots_in(record: Mapping[str, Any]) -> int:
    """How many shots a record tells of."""
    return len(record.get("shots", [])) or 1
