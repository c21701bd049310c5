"""Diffusers' Marigold: the depth of a single image by diffusion, frame by frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.methods.base import Machine, MethodRequest, configured, size_within
from depthcrafter_cli.methods.per_frame import (
    PerFrameConfig,
    PerFrameMethod,
    PerFramePlan,
    loading,
    require_whole,
)
from depthcrafter_cli.models.layout import SCHEDULER_CONFIG, read_json
from depthcrafter_cli.models.weights import InstalledModel
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.types import Size

if TYPE_CHECKING:
    from torch import Tensor

# Where a model_index.json does not say them: those of the first models, which had none.
_STEPS, _MAX_RES = 10, 768
_MULTIPLE = 8  # pixels of a latent


@dataclass(frozen=True)
class MarigoldConfig(PerFrameConfig):
    """``steps`` of diffusion; ``seed`` and a frame's number determine its noise."""

    steps: int = _STEPS
    seed: int = 42


class MarigoldMethod(PerFrameMethod):
    """A model that diffusers' MarigoldDepthPipeline runs."""

    def _plan(
        self, request: MethodRequest, source: Size, weights: InstalledModel
    ) -> "MarigoldPlan":
        path = weights.path / "model_index.json"
        index = read_json(path)
        with content_errors(path, WeightsError, "expected a Marigold model's: pull it again"):
            steps = int(index.get("default_denoising_steps") or _STEPS)
            longest = int(index.get("default_processing_resolution") or _MAX_RES)
        longest = longest if request.max_res is None else request.max_res
        size = size_within(source, longest, _MULTIPLE)
        config = configured(MarigoldConfig(steps=steps), request, self.name)
        return MarigoldPlan(
            weights=weights, spec=weights.spec, size=size, multiple=_MULTIPLE, config=config
        )


@dataclass(frozen=True, kw_only=True)
class MarigoldPlan(PerFramePlan):
    """A plan to estimate each frame on its own, by diffusion."""

    config: MarigoldConfig

    def how(self, windows: int | None) -> str:
        """Return the number of steps, in words."""
        return f"{super().how(windows)}, {self.config.steps} steps each"

    def networks(self, folder: Path, machine: Machine) -> Any:
        """The pipeline, on its device and in its precision. Raises WeightsError.

        Its parts are loaded by their classes, so that no file decides what code is run.
        """
        import torch
        from diffusers import (
            AutoencoderKL,
            DDIMScheduler,
            LCMScheduler,
            MarigoldDepthPipeline,
            UNet2DConditionModel,
        )
        from transformers import CLIPTextModel

        dtype = getattr(torch, machine.dtype)
        schedulers = {each.__name__: each for each in (DDIMScheduler, LCMScheduler)}
        named = read_json(folder / SCHEDULER_CONFIG).get("_class_name")
        if named not in schedulers:
            raise WeightsError(
                f"got the scheduler {named} in {folder / SCHEDULER_CONFIG}, expected one of "
                f"{', '.join(schedulers)}: use a Marigold model."
            )
        parts: dict[str, Any] = {}
        classes = {
            "unet": UNet2DConditionModel,
            "vae": AutoencoderKL,
            "text_encoder": CLIPTextModel,
        }
        for name, kind in classes.items():
            home = folder / name
            half = not list(home.glob("*model.safetensors")) and {"variant": "fp16"}
            with loading(home):
                parts[name], told = kind.from_pretrained(
                    home,
                    local_files_only=True,
                    use_safetensors=True,
                    output_loading_info=True,
                    **(half or {}),
                )
                require_whole(home, told)
            parts[name].eval().requires_grad_(False).to(machine.device, dtype)
        text_encoder = parts.pop("text_encoder")
        with loading(folder):
            scheduler = schedulers[named].from_pretrained(folder / "scheduler")
            pipeline = MarigoldDepthPipeline(
                **parts, scheduler=scheduler, text_encoder=None, tokenizer=None,
                prediction_type="depth",
            )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        # The text is always empty: its beginning and its end, the last two words of any CLIP.
        words = text_encoder.config.vocab_size
        empty = torch.tensor([[words - 2, words - 1]], device=machine.device)
        with torch.inference_mode():
            pipeline.empty_text_embedding = text_encoder(empty)[0]
        return pipeline

    def predict(self, networks: Any, pictures: "Tensor", first: int) -> "Tensor":
        """Return 1 - depth, float32 in [0, 1], of some frames."""
        from depthcrafter_cli.pipeline.noise import FrameNoise

        factor = networks.vae_scale_factor
        height, width = (-(-side // factor) for side in pictures.shape[2:])
        shape = networks.vae.config.latent_channels, height, width
        noise = FrameNoise(self.config.seed, shape, shape).images(first, first + len(pictures))
        found = networks(
            pictures.to(networks.dtype) / 255,
            num_inference_steps=self.config.steps,
            processing_resolution=0,  # the pictures have the size they are to have
            match_input_resolution=False,
            batch_size=len(pictures),
            latents=noise.to(pictures.device, networks.dtype),
            output_type="pt",
        )
        return 1 - found.prediction[:, 0].float()
