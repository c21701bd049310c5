"""Anchor a window's noise on the result so far, then denoise it (section 3.2, section 3.4).

Latents are float32 throughout; only the network runs in its own precision.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from depthcrafter_cli.errors import UsageError, WeightsError
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.pipeline.conditioning import Conditioning
from depthcrafter_cli.pipeline.schedule import Schedule

FPS_ID, MOTION_BUCKET_ID = 7.0, 127.0

Velocity = Callable[[Tensor, float], Tensor]
"""(scaled latents, timestep) to the v-prediction, both float32 [m, 4, h, w]."""


def anchor(noise: Tensor, overlap_latents: Tensor | None, schedule: Schedule) -> Tensor:
    """Starting latents [m, 4, h, w] of a window.

    Frames shared with the window before start from its result plus noise, so that the new
    window is pulled towards the scale and shift the old one chose.
    """
    start = schedule.init_noise_sigma * noise
    if overlap_latents is not None:
        shared = len(overlap_latents)
        start[:shared] = overlap_latents + schedule.sigmas[0] * noise[:shared]
    return start


def denoise(
    latents: Tensor,
    conditional: Velocity,
    unconditional: Velocity | None,
    schedule: Schedule,
    guidance: float,
    on_step: Callable[[Tensor], None],
    first: int = 0,
) -> Tensor:
    """Run the Euler steps from ``first`` on: a window's latents [m, 4, h, w] in, clean ones out.

    ``conditional`` is the network with the frames' condition, ``unconditional``, needed for
    guidance, without it.
    """
    for step in range(first, len(schedule.timesteps)):
        timestep = schedule.timesteps[step]
        sigma, following = schedule.sigmas[step : step + 2]
        scaled = latents / (sigma**2 + 1) ** 0.5
        velocity = conditional(scaled, timestep)
        if unconditional is not None:
            free = unconditional(scaled, timestep)
            velocity = free + guidance * (velocity - free)
        latents = euler_step(latents, velocity, sigma, following)
        on_step(latents)
    return latents


def velocity_of(components: Components, conditioning: Conditioning, noise_aug: float) -> Velocity:
    """The network on one window, with the condition of its frames."""
    unet = components.unet
    dtype = next(unet.parameters()).dtype
    embeds = conditioning.embeds[:, None].to(dtype)  # [m, 1, e]
    forward = WindowForward(unet, embeds, components.plan, components.blocks, components.offload)
    told = [[FPS_ID, MOTION_BUCKET_ID, noise_aug]]
    ids = torch.tensor(told, dtype=torch.float32).to(components.device, dtype)

    def predict(scaled: Tensor, timestep: float) -> Tensor:
        known = torch.cat([scaled, conditioning.latents], dim=1).to(dtype)  # [m, 8, h, w]
        at = torch.tensor([timestep], dtype=torch.float32, device=known.device)
        return forward(known, at, ids).float()

    return predict


def require_numbers(values: Tensor, dtype: torch.dtype, where: str) -> None:
    """Raise an error if any of ``values``, computed in ``dtype``, is infinite or no number.

    Half precision overflows at 65504, and some cards fail at it; in float32 it is the weights.

    Raises:
        WeightsError: in float32.
        UsageError: in another precision, with those that may do.
    """
    if torch.isfinite(values.sum()):  # a sum has room for all values, and shows one that is not
        return
    told = f"The model gave values that are no numbers {where}, expected finite depth: "
    if dtype == torch.float32:
        raise WeightsError(
            f"{told}these weights cannot be used; check them with `depthcrafter weights verify`."
        )
    wider = ', or `dtype="bf16"` on an RTX 30 or newer' if dtype == torch.float16 else ""
    raise UsageError(
        f'{told}compute again from the start with `dtype="fp32"` and `overwrite=True`{wider}.'
    )


def euler_step(latents: Tensor, velocity: Tensor, sigma: float, following: float) -> Tensor:
    """One step of the probability-flow ODE from noise level ``sigma`` to ``following``."""
    clean = latents / (sigma**2 + 1) - velocity * (sigma / (sigma**2 + 1) ** 0.5)
    slope = (latents - clean) / sigma
    return latents + slope * (following - sigma)
