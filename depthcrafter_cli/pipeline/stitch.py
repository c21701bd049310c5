"""Join windows in latent space: a linear ramp over the frames two windows share (section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor


def stitch(latents: Tensor, overlap_latents: Tensor | None) -> Tensor:
    """Blend the start of a window's latents [m, 4, h, w] with the result so far [o, 4, h, w].

    The first shared frame is entirely old and the last entirely new; a single shared frame
    stays old.
    """
    if overlap_latents is None:
        return latents
    shared = len(overlap_latents)
    ramp = torch.arange(shared, dtype=torch.float32) / max(shared - 1, 1)
    new = ramp.to(latents).view(-1, 1, 1, 1)
    blended = (1 - new) * overlap_latents + new * latents[:shared]
    return torch.cat([blended, latents[shared:]])
