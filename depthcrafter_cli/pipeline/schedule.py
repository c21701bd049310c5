"""The noise schedule: Karras sigmas for SVD's v-prediction, continuous timesteps.

(arXiv 2206.00364, eq. 5, with rho = 7 and SVD's sigma range.)
"""

import math
from dataclasses import dataclass

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0


@dataclass(frozen=True)
class Schedule:
    """``sigmas`` has one entry more than ``timesteps``: the last is 0, the clean latent."""

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]

    @property
    def init_noise_sigma(self) -> float:
        """The scale of the noise that sampling starts from."""
        return math.sqrt(self.sigmas[0] ** 2 + 1)


def karras_schedule(steps: int) -> Schedule:
    """Schedule of ``steps`` Euler steps from sigma 700 down to 0; timestep = ln(sigma) / 4."""
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    spacing = max(steps - 1, 1)
    sigmas = tuple((high + i / spacing * (low - high)) ** RHO for i in range(steps))
    return Schedule((*sigmas, 0.0), tuple(0.25 * math.log(sigma) for sigma in sigmas))
