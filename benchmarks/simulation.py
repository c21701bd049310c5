"""A run's stages on the simulated device of tracker.py: the product's own code, and its peaks."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn
from tracker import DEVICE, Tracker, simulated
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import depthcrafter_cli.models
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.estimate import Workload
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.silent import mark_silent, silent_layers
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.pipeline.conditioning import Conditioning, encode_embeds, encode_latents
from depthcrafter_cli.pipeline.decode import decode_rgb
from depthcrafter_cli.pipeline.denoise import denoise, velocity_of
from depthcrafter_cli.pipeline.schedule import karras_schedule
from depthcrafter_cli.types import MemoryPlan

CONFIGS = Path(depthcrafter_cli.models.__file__).parent / "configs"


class Simulation:
    """A model without values; :meth:`peaks` runs each stage once."""

    def __init__(self, configs: Path = CONFIGS, dtype: torch.dtype = torch.float16) -> None:
        read = {
            name: json.loads((configs / name / "config.json").read_text())
            for name in ("unet", "vae", "image_encoder")
        }
        silent = {name: silent_layers(configs, name) for name in ("unet", "vae")}
        self.architecture = Architecture.of(**read, silent=silent)
        self.dtype = dtype
        with torch.device(DEVICE):
            unet = DepthUNet.from_config(DepthUNet.load_config(configs / "unet"))
            vae = AutoencoderKLTemporalDecoder.from_config(
                AutoencoderKLTemporalDecoder.load_config(configs / "vae")
            )
            image_encoder = CLIPVisionModelWithProjection(
                CLIPVisionConfig.from_dict(read["image_encoder"])
            )
        mark_silent(unet, silent["unet"]), mark_silent(vae, silent["vae"])
        self.networks = [unet, vae, image_encoder]
        for network in self.networks:
            nn.Module.to(network.eval().requires_grad_(False), dtype)
            for module in network.modules():
                module.share_of_time = 0.5  # of those that mix; there are no weights to ask
        if self.architecture.upcast_encoder:
            vae.encoder.float(), vae.quant_conv.float()

    def peaks(self, workload: Workload, plan: MemoryPlan, steps: int = 2) -> dict[str, int]:
        """Bytes at most, by stage; names as in :class:`Peaks`."""
        height, width, frames = workload.size.height, workload.size.width, workload.window
        unet, vae, image_encoder = self.networks
        stages: dict[str, int] = {}
        with torch.inference_mode(), simulated() as tracker, _weights(self, plan, tracker):
            components = Components(unet, vae, image_encoder, DEVICE, self.dtype, plan)

            def latents(count: int) -> torch.Tensor:
                return torch.empty(count, *components.latent_shape(height, width), device=DEVICE)

            # A window's conditioning: frame by frame, then joined.
            items = [
                Conditioning(
                    torch.empty(1, self.architecture.cross_width, device=DEVICE), latents(1)
                )
                for _ in range(frames)
            ]
            shape = plan.encode_batch, 3, height, width
            tracker.restart()
            encode_embeds(components, (torch.empty(shape, device=DEVICE) for _ in range(1)))
            stages["image_encoder"] = tracker.restart()
            encode_latents(components, (torch.empty(shape, device=DEVICE) for _ in range(1)))
            stages["encode"] = tracker.restart()
            start, schedule = latents(frames), karras_schedule(steps)
            with components.on_device(unet):
                velocity = velocity_of(components, Conditioning.join(items), 0.02)
                denoise(start, velocity, None, schedule, 1.0, lambda _: None)
            del velocity, items, start
            stages["denoise"] = tracker.restart()
            window = latents(frames)
            decode_rgb(components, latents(workload.decode_chunk))
            del window
            stages["decode"] = tracker.restart()
        return stages


@contextmanager
def _weights(simulation: Simulation, plan: MemoryPlan, tracker: Tracker) -> Iterator[None]:
    """Weights are on the device for good, or on the host, which is simulated as well: uncounted."""
    resident = 0 if plan.offloaded else sum(_bytes(network) for network in simulation.networks)
    for network in simulation.networks:
        for tensor in (*network.parameters(), *network.buffers()):
            tracker.ignore(tensor)
    held = torch.empty(resident, dtype=torch.uint8, device=DEVICE)
    yield
    del held


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())
