"""Every setting of the algorithm, with the published defaults, checked on construction."""

from dataclasses import dataclass
from typing import Literal

from depthcrafter_cli.errors import UsageError

NoiseKind = Literal["frame", "reference"]


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of one run; the defaults are those of the published program.

    Attributes:
        steps: Euler steps per window, at least 1.
        guidance: classifier-free guidance; 1 and below run the network once per step.
        window: frames that are denoised together.
        overlap: frames a window shares with the one before it, in [0, window).
        noise_aug: standard deviation of the noise added to the frames before VAE encoding.
        decode_chunk: frames the temporal VAE decodes together, on a grid counted from frame 0.
            It changes the result: the decoder sees nothing beyond its chunk.
        encode_batch: frames per CLIP and VAE encoder call. It does not change the result.
        seed: seed of all noise.
        noise: ``frame`` draws each frame's noise from (seed, frame index) alone;
            ``reference`` draws those of the published program on a CPU, which depend on the clip's
            length.

    Raises:
        UsageError: a value outside its range.
    """

    steps: int = 5
    guidance: float = 1.0
    window: int = 110
    overlap: int = 25
    noise_aug: float = 0.02
    decode_chunk: int = 8
    encode_batch: int = 8
    seed: int = 42
    noise: NoiseKind = "frame"

    def __post_init__(self) -> None:
        for name in ("steps", "window", "decode_chunk", "encode_batch"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise UsageError(
                    f"got {option} {getattr(self, name)}, expected at least 1: raise --{option}."
                )
        if not 0 <= self.overlap < self.window:
            raise UsageError(
                f"got overlap {self.overlap} with window {self.window}, expected 0 <= overlap < "
                "window: lower --overlap or raise --window."
            )
        if not 0 <= self.noise_aug < float("inf"):
            raise UsageError(
                f"got noise augmentation {self.noise_aug}, expected a number from 0 up: "
                "the published value is 0.02."
            )
        if not 0 <= self.guidance < float("inf"):
            raise UsageError(
                f"got guidance {self.guidance}, expected a number from 0 up: 1 switches it off."
            )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"got seed {self.seed}, expected 0 <= seed < 2**63: pick another one.")
        if self.noise not in ("frame", "reference"):
            raise UsageError(f"got noise {self.noise!r}, expected 'frame' or 'reference'.")
