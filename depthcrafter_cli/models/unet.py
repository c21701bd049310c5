"""The spatio-temporal UNet of Stable Video Diffusion, conditioned on every frame's own embedding.

The modules and their names are SVD's, so published checkpoints load as they are. DepthCrafter
differs in one place (arXiv 2409.02095, section 3.1): SVD shows all frames the embedding of one
image, DepthCrafter shows each frame its own.
"""

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor

from depthcrafter_cli.models.published.unet import embed_time


class DepthUNet(UNetSpatioTemporalConditionModel):
    """Predicts the velocity of noisy disparity latents."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
    ) -> Tensor:
        """Predict v for ``batch`` clips of T frames.

        Args:
            sample: [batch, T, 2 c, h, w], scaled noisy latents and conditioning ones, c each.
            timestep: [1] or [batch], ln(sigma) / 4.
            encoder_hidden_states: [batch * T, 1, e], one CLIP embedding per frame.
            added_time_ids: [batch, 3], (fps, motion bucket, noise augmentation).

        Returns:
            [batch, T, c, h, w] in the type of ``sample``.
        """
        batch, frames = sample.shape[:2]
        context = {
            "temb": embed_time(self, timestep, added_time_ids, sample.dtype).repeat_interleave(
                frames, 0
            ),
            "image_only_indicator": sample.new_zeros(batch, frames),
        }
        text = {"encoder_hidden_states": encoder_hidden_states}

        hidden = self.conv_in(sample.flatten(0, 1))  # [batch * T, c, h, w]
        skips: tuple[Tensor, ...] = (hidden,)
        for block in self.down_blocks:
            hidden, kept = block(hidden, **context, **(text if _attends(block) else {}))
            skips += kept
        hidden = self.mid_block(hidden, **context, **text)
        for block in self.up_blocks:
            used = len(block.resnets)
            skips, taken = skips[:-used], skips[-used:]
            # Sides that do not halve evenly are restored to those of the next skip.
            size = skips[-1].shape[-2:] if skips else None
            hidden = block(
                hidden,
                res_hidden_states_tuple=taken,
                upsample_size=size,
                **context,
                **(text if _attends(block) else {}),
            )
        hidden = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return hidden.unflatten(0, (batch, frames))


def _attends(block: torch.nn.Module) -> bool:
    return bool(getattr(block, "has_cross_attention", False))
