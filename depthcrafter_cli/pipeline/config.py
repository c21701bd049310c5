"""Every setting of the algorithm, with the published defaults, checked on construction."""

from dataclasses import dataclass
from typing import Literal, get_args

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.options import documented, option, settle_options

NoiseKind = Literal["frame", "reference"]
AlignKind = Literal["off", "windows", "skeleton"]


@documented
@dataclass(frozen=True)
class PipelineConfig:
    """Settings of one run; the defaults are those of the reference program.

    ``guidance`` of 1 and below runs the network once per step. Each window shares its first
    ``overlap`` frames with the one before it, in [0, window). ``noise_aug`` is a standard
    deviation. The temporal VAE decodes ``decode_chunk`` frames on a grid counted from frame 0, and
    sees nothing beyond them. ``encode_batch`` frames are a call of the image encoder and of the VAE
    encoder; it does not change the result. ``noise`` of ``frame`` draws each frame's noise from
    (seed, frame index) alone; ``reference`` draws those of the reference program on a CPU, which
    depend on the shot's length. Where windows are to be aligned, ``align``, it is told with the
    result what they say of the frames that they share.

    Raises UsageError for a value outside its range.
    """

    steps: int = option(
        5,
        help="Denoising steps per window. Default: the model's ({default} as published).",
        part="depth",
        minimum=1,
    )
    guidance: float = option(
        1.0, help="Classifier-free guidance. Default: {default} (off).", part="depth", minimum=0
    )
    window: int = option(
        110,
        help="Frames denoised together. Default: the model's ({default} as published).",
        part="depth",
        unit="frames",
        minimum=1,
    )
    overlap: int = option(
        25,
        help="Frames shared by neighbouring windows. Default: the model's ({default} as "
        "published).",
        part="depth",
        unit="frames",
        minimum=0,
    )
    noise_aug: float = option(
        0.02,
        help="Noise added to the frames before encoding. Default: {default}.",
        part="depth",
        minimum=0,
    )
    decode_chunk: int = option(
        8,
        help="Frames decoded together; changes the result. Default: {default}.",
        part="depth",
        unit="frames",
        minimum=1,
    )
    encode_batch: int = option(
        8,
        help="Frames encoded together; only memory. Default: {default}, or 4 by other methods.",
        part="depth",
        unit="frames",
        minimum=1,
    )
    seed: int = option(
        42,
        help="Seed of all noise. Default: {default}.",
        part="depth",
        minimum=0,
        maximum=2**63 - 1,
    )
    align: AlignKind = option(
        "off",
        help="Bring all windows of a shot to one scale, by the frames they share (windows), or by "
        "one more window over frames of the whole shot (skeleton). Default: {default}.",
        part="depth",
    )
    noise: NoiseKind = "frame"

    def __post_init__(self) -> None:
        settle_options(self)
        if self.overlap >= self.window:
            raise UsageError(
                f"got `overlap` {self.overlap} with `window` {self.window}, expected less than the "
                "window: lower `overlap` or raise `window`."
            )
        if self.align != "off" and (self.noise == "reference" or not self.overlap):
            other = "`reference`" if self.overlap else "`overlap` 0"
            raise UsageError(
                f"got `align` {self.align} with {other}, expected windows that share frames, and "
                "none of the reference: leave one of them out."
            )
        if self.noise not in get_args(NoiseKind):
            raise UsageError(
                f"got `noise` {self.noise!r}, expected 'frame' or 'reference': correct it."
            )
