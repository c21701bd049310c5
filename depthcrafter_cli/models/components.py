"""The three networks of a model, on their device, in their precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from depthcrafter_cli.models.device_memory import release_memory
from depthcrafter_cli.models.host import HostMemory
from depthcrafter_cli.models.offload import Offload
from depthcrafter_cli.models.residency import Residency, settle
from depthcrafter_cli.types import MemoryPlan


@dataclass(frozen=True)
class Components:
    """Loaded networks, in evaluation mode, without gradients.

    Whoever built them, their layers have the names of published models. ``dtype`` is that of the
    UNet, the image encoder and the VAE's decoder; the VAE's encoder stays in float32 where its
    config says ``force_upcast``. ``host_memory`` holds offloaded tensors; it outlives plans and
    videos.
    """

    unet: Any
    vae: Any
    image_encoder: Any
    device: torch.device
    dtype: torch.dtype
    plan: MemoryPlan
    host_memory: HostMemory = field(default_factory=HostMemory, repr=False, compare=False)

    def on_device(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside, the weights of ``network`` (or a part of one) are on the device.

        Those of a UNet whose blocks are offloaded come one at a time instead, by :attr:`blocks`.
        """
        by_blocks = self.plan.offload_blocks and network is self.unet
        return Residency(self.device, self.plan.offloaded and not by_blocks).on_device(network)

    def under(self, plan: MemoryPlan) -> "Components":
        """The same networks under another plan; weights move where it wants them.

        May be asked again, for this plan or another, where memory ran out half way.
        """
        self.host_memory.serve(plan)
        for network in (self.unet, self.vae, self.image_encoder):
            settle(network, self.device, plan.offloaded, self.host_memory)
        if plan.offloaded and not self.plan.offloaded:
            release_memory(self.device)  # of the weights that have left
        return replace(self, plan=plan)

    @property
    def blocks(self) -> Residency:
        """Brings a block of the UNet to the device while it works."""
        return Residency(self.device, self.plan.offload_blocks)

    @property
    def offload(self) -> Offload:
        """Takes tensors that wait on the host."""
        return Offload(self.device, self.host_memory)

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
