"""The record a run leaves beside its first output: enough to repeat it, and to cite it."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import depthcrafter_cli
from depthcrafter_cli.media.files import output_errors, partial_path, publish, sync
from depthcrafter_cli.types import ValueRange
from depthcrafter_cli.workflows.memory import facts
from depthcrafter_cli.workflows.plan import RunPlan

_SAMPLE_BYTES = 1 << 20


def describe(plan: RunPlan, values: ValueRange, frames: int) -> dict[str, Any]:
    """What was run on what, as plain JSON values."""
    request, variant = plan.request, plan.weights.variant
    return {
        "program": f"depthcrafter {depthcrafter_cli.__version__}",
        "disparity": "affine-invariant, larger is nearer",
        "input": _identity(request.source),
        "frames": frames,
        "rate": str(plan.rate),
        "source_size": str(plan.info.size),
        "model_size": str(plan.model_size),
        "output_size": str(plan.output_size),
        "normalize": request.normalization.mode,
        "value_range": [values.low, values.high],
        "model": variant.name,
        "weights_sha256": plan.weights.hashes(),
        "licences": [f"{licence.title}: {licence.url}" for licence in variant.licences],
        "non_commercial": variant.non_commercial,
        "settings": asdict(plan.config),
        "memory": facts(plan.memory),
        "reference": request.reference,
        "device": plan.device,
        "dtype": plan.dtype,
        "outputs": [str(path) for path in request.outputs],
    }


def write_record(plan: RunPlan, record: dict[str, Any]) -> None:
    """Write the record under its final name in one step."""
    path = plan.record_path
    if path is None:
        return
    partial = partial_path(path)
    with output_errors(path):
        partial.write_text(json.dumps(record, indent=2) + "\n")
        sync(partial)
    publish(partial, path, overwrite=plan.request.overwrite)


def _identity(source: Path) -> dict[str, Any]:
    """Path, size, date and a hash of the head and tail: cheap for a film of any length."""
    if not source.is_file():
        return {"path": str(source)}
    status = source.stat()
    digest = hashlib.sha256()
    with source.open("rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, status.st_size - _SAMPLE_BYTES))
        digest.update(file.read(_SAMPLE_BYTES))
    return {
        "path": str(source),
        "bytes": status.st_size,
        "modified": status.st_mtime,
        "sha256_head_tail": digest.hexdigest(),
    }
