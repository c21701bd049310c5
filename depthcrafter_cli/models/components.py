"""The three networks of a model, on their device, in their precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn
from transformers import CLIPVisionModelWithProjection

from depthcrafter_cli.models.device_memory import release_memory
from depthcrafter_cli.models.host import Stash
from depthcrafter_cli.models.parking import Parking
from depthcrafter_cli.models.residency import Residency, settle
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.types import MemoryPlan


@dataclass(frozen=True)
class Components:
    """Loaded networks, in evaluation mode, without gradients.

    ``dtype`` is that of the UNet, the image encoder and the VAE's decoder; the VAE's encoder
    stays in float32 where its config says ``force_upcast``. ``stash`` is the host memory of tensors
    that wait; it outlives plans and clips.
    """

    unet: DepthUNet
    vae: AutoencoderKLTemporalDecoder
    image_encoder: CLIPVisionModelWithProjection
    device: torch.device
    dtype: torch.dtype
    plan: MemoryPlan
    stash: Stash = field(default_factory=Stash, repr=False, compare=False)

    def at_work(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside, the weights of ``network`` (or a part of one) are on the device.

        Those of a UNet whose plan streams them come block by block instead, by :attr:`blocks`.
        """
        streamed = self.plan.stream_weights and network is self.unet
        return Residency(self.device, self.plan.hosted and not streamed).present(network)

    def under(self, plan: MemoryPlan) -> "Components":
        """The same networks under another plan; weights move where it wants them.

        May be asked again, for this plan or another, where memory ran out half way.
        """
        self.stash.serve(plan)
        for network in (self.unet, self.vae, self.image_encoder):
            settle(network, self.device, plan.hosted, self.stash)
        if plan.hosted and not self.plan.hosted:
            release_memory(self.device)  # of the weights that have left
        return replace(self, plan=plan)

    @property
    def blocks(self) -> Residency:
        """Brings a block of the UNet to the device while it works."""
        return Residency(self.device, self.plan.stream_weights)

    @property
    def parking(self) -> Parking:
        """Takes tensors that wait on the host."""
        return Parking(self.device, self.stash)

    @property
    def side_multiple(self) -> int:
        """Picture sides must divide by this many pixels: the VAE's factor times the UNet's."""
        unet_levels = len(self.unet.config.block_out_channels)
        return int(self._vae_factor * 2 ** (unet_levels - 1))

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Channels, height and width of the latents of a picture."""
        factor = self._vae_factor
        return int(self.vae.config.latent_channels), height // factor, width // factor

    @property
    def _vae_factor(self) -> int:
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))
