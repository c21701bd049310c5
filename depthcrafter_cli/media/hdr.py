"""High dynamic range: what PQ and HLG store, turned into the SDR that models were trained on."""

import sys

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.types import Hdr, RgbImage

DIFFUSE_WHITE = 203.0  # cd/m2 that white paper has in HDR video, ITU-R BT.2408
_PQ_PEAK, _HLG_PEAK = 10_000.0, 1000.0  # cd/m2
_HLG_GAMMA = 1.2  # of a display with that peak
_SDR_GAMMA = 2.4  # ITU-R BT.1886
_CODES = {16: "pq", 18: "hlg"}  # ITU-T H.273, table 3
_BT709, _BT2020 = 1, 9  # ITU-T H.273, table 2
# x and y of red, green, blue and white by the codes of that table; all have the white of D65 but
# one. What is not here is taken as BT.2020, which HDR has.
_D65 = (0.3127, 0.3290)
_CHROMATICITIES = {
    _BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    _BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_ROWS = 32  # converted at a time: they stay in the processor's caches
_HIGH_HALF = 1 if sys.byteorder == "little" else 0  # of the two 16-bit halves of a float


def hdr_of(transfer: int, primaries: int) -> Hdr | None:
    """What the codes of a video mean, ITU-T H.273; None for SDR."""
    return Hdr(_CODES[transfer], primaries) if transfer in _CODES else None


class ToSdr:
    """Turns pictures as they are stored into BT.709 at a gamma of 2.4.

    Diffuse white becomes 255, and what is brighter is clipped to it, as are colours outside BT.709.
    ``white`` is the level at which the signal is 1.
    """

    def __init__(self, hdr: Hdr, white: int) -> None:
        signal = np.minimum(np.arange(65536) / white, 1)
        light = _pq_light(signal) if hdr.transfer == "pq" else _hlg_light(signal)
        self._light = (light / DIFFUSE_WHITE).astype(np.float32)
        to_bt709 = np.linalg.inv(_to_xyz(_BT709)) @ _to_xyz(hdr.primaries)
        self._to_bt709 = to_bt709.astype(np.float32)

    def __call__(self, stored: npt.NDArray[np.uint16]) -> RgbImage:
        """RGB uint16 [H, W, 3] as uint8."""
        shown = np.empty(stored.shape, np.uint8)
        for top in range(0, len(stored), _ROWS):
            rows = slice(top, top + _ROWS)
            light = np.take(self._light, stored[rows], mode="clip") @ self._to_bt709.T
            halves = light.view(np.uint16)[..., _HIGH_HALF::2]
            np.take(_SDR_LEVELS, halves, out=shown[rows], mode="clip")
        return shown


def _pq_light(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a display gives in cd/m2, SMPTE ST 2084."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return np.asarray(_PQ_PEAK * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg_light(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a display gives in cd/m2, ARIB STD-B67 and ITU-R BT.2100 table 5.

    The display's gamma acts on each channel, as in zscale by default; by the standard it acts on
    luminance, by which saturated colours differ.
    """
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return np.asarray(_HLG_PEAK * scene**_HLG_GAMMA)


def _to_xyz(primaries: int) -> npt.NDArray[np.float64]:
    """The matrix from RGB to CIE XYZ, in which white has the luminance 1."""
    chosen = _CHROMATICITIES.get(primaries, _CHROMATICITIES[_BT2020])
    *colours, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in chosen)
    columns = np.stack(colours, axis=1)
    return np.asarray(columns * np.linalg.solve(columns, white))


def _sdr_levels() -> RgbImage:
    """The levels of light by the upper 16 bits of its float32, which are as many as matter.

    They round light to a part in 256, hence levels by a third at most; light below 0 is black.
    """
    middles = (np.arange(1 << 16, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    light = np.clip(np.nan_to_num(middles), 0, 1).astype(np.float64)
    return np.asarray(np.rint(255 * light ** (1 / _SDR_GAMMA)).astype(np.uint8))


_SDR_LEVELS = _sdr_levels()
