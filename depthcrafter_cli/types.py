"""Values that travel between the layers. Plain data, no torch, no files opened."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

RgbImage = npt.NDArray[np.uint8]  # [H, W, 3]
Stage = Literal["condition", "denoise", "decode"]  # of what a pipeline computes
# Where memory can run out: on the device, in a stage or while weights are loaded, or on the host.
Scarce = Stage | Literal["load", "host"]
Disparity = npt.NDArray[np.float32]  # [..., H, W], larger is nearer


@dataclass(frozen=True)
class Size:
    """A picture size in pixels; prints as ``WIDTHxHEIGHT``, the order users type."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    ``index`` counts the frames handed out (0, 1, 2, ...), ``time`` is the presentation
    time in seconds from the start of the part that is read, ``duration`` how many seconds it is
    shown, ``rgb`` is uint8 [H, W, 3].
    """

    index: int
    time: Fraction
    duration: Fraction
    rgb: RgbImage


@dataclass(frozen=True)
class Hdr:
    """How an HDR video stores light: by the ``transfer`` ``pq`` or ``hlg``.

    ``dolby`` is Dolby Vision whose pictures are shown by its own metadata alone (profile 5).

    ``primaries`` is the code of its colours, ITU-T H.273, by default that of BT.2020.
    """

    transfer: str
    primaries: int = 9


@dataclass(frozen=True)
class Anamorphic:
    """Pictures with pixels that are not square: as they are stored, turned upright.

    ``pixel_aspect`` is a pixel's width to its height.
    """

    size: Size
    pixel_aspect: Fraction


@dataclass(frozen=True)
class VideoInfo:
    """What is known about a video before its frames are read.

    ``size`` is the picture as displayed (rotation and, where set, pixel aspect applied);
    ``rate`` is frames per second, ``peak_rate`` the same where they follow most closely, which is
    more if the rate varies; ``frame_count`` is exact where there are few frames
    or the container says so, else an estimate, None where nothing tells it. ``hdr`` is None
    for a video that does not say that it is HDR, ``anamorphic`` for one of square pixels.
    ``of_images`` says that it is made of picture files.
    """

    path: Path
    size: Size
    rate: Fraction
    peak_rate: Fraction
    frame_count: int | None
    hdr: Hdr | None = None
    anamorphic: Anamorphic | None = None
    of_images: bool = False


@dataclass(frozen=True)
class ValueRange:
    """The raw disparities that are mapped to 0 and to 1."""

    low: float
    high: float


# Four frames of the published size keep a GPU busy; a CPU is fastest while a chunk fits its caches.
_GPU_VALUES, _CPU_VALUES = 4 * 72 * 128 * 320, 1 << 20


@dataclass(frozen=True)
class MemoryPlan:
    """How the networks' work is cut up to bound memory; it never changes the result.

    Attributes:
        chunk_values: numbers of a hidden layer (frames x pixels x channels) worked on at a time:
            some frames, or some rows of one.
        encode_batch: the most frames per call of the VAE's encoder and of the image encoder.
        offload_networks: weights live on the host; only the network at work is on the device.
        offload_blocks: of the UNet, too, only the block at work is on the device.
        offload_skips: skip tensors of the UNet wait on the host.
        encode_by_rows: the VAE's encoder works on some rows of a frame at a time.
        recompute_decode: the decoder's layers wait on the host while they are enlarged, and half of
            its temporal convolutions are computed twice rather than kept.
    """

    chunk_values: int
    encode_batch: int = 8
    offload_networks: bool = False
    offload_blocks: bool = False
    offload_skips: bool = False
    encode_by_rows: bool = False
    recompute_decode: bool = False

    @staticmethod
    def default(device: str) -> "MemoryPlan":
        """Everything on the device (``cuda``, ``mps`` or ``cpu``)."""
        return MemoryPlan(_CPU_VALUES if device == "cpu" else _GPU_VALUES)

    @property
    def offloaded(self) -> bool:
        """Whether weights are kept on the host until they are needed."""
        return self.offload_networks or self.offload_blocks
