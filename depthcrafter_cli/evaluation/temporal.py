"""How steady a depth clip is, measured as the change of its error from frame to frame."""

import numpy as np

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.alignment import AlignedClip, AlignedFrame, Array, Mask


def temporal_score(clip: AlignedClip) -> float:
    """Mean absolute change of the log-depth error between neighbouring frames; 0 is steadiest.

    With d the aligned estimate and g the truth, the error of a pixel is ln d - ln g: true motion
    of the scene drops out, an error that stays costs nothing, flicker of 1% of depth scores about
    0.01. Averaged over the pixels valid in both frames of a pair, then over pairs. A steady clip
    may still be wrong, so read this beside AbsRel. The measure is ours.

    Raises InputError when no two neighbouring frames share a valid pixel.
    """
    changes = []
    before: AlignedFrame | None = None
    for frame in clip:
        if before is not None:
            both = before.valid & frame.valid
            if both.any():
                changes.append(np.abs(_log_error(frame, both) - _log_error(before, both)).mean())
        before = frame
    if not changes:
        raise InputError(
            "got no two neighbouring frames with a valid pixel in common, expected at least one "
            "such pair; measure a longer clip"
        )
    return float(np.mean(changes))


def _log_error(frame: AlignedFrame, mask: Mask) -> Array:
    return np.log(frame.estimate[mask] / frame.truth[mask])
