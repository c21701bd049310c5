"""A small model built from the recipe, and the folder it is shipped in."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import load, load_file, save
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from depthcrafter_cli.media.files import write_whole
from depthcrafter_cli.models.identity import CHANNELS, VALUES, identity_ends
from depthcrafter_cli.models.layout import NETWORK_STEMS, weight_files
from depthcrafter_cli.models.published import Configs, Networks
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.pipeline.conditioning import CLIP_MEAN, CLIP_SIDE, CLIP_STD
from depthcrafter_cli.pipeline.schedule import SIGMA_MAX, SIGMA_MIN
from depthcrafter_cli.training.config import ImageEncoderConfig, UnetConfig, VaeConfig

PIXELS_SCALE = 2.0  # brings disparity in [-1, 1], whose deviation is about 1/2, to unit variance


def trainable_networks(configs: Configs) -> Networks:
    """The libraries' own networks of a model folder, as ``published.empty_networks`` makes ours."""
    with init_empty_weights(include_buffers=False):
        return Networks(
            _build(DepthUNet, configs["unet"]),
            _build(AutoencoderKLTemporalDecoder, configs["vae"]),
            CLIPVisionModelWithProjection(
                CLIPVisionConfig.from_dict(dict(configs["image_encoder"]))
            ),
        )


def _build(network: Callable[..., Any], config: Mapping[str, Any]) -> Any:
    """Construct a network of diffusers; a config may carry the keys of other versions."""
    known = inspect.signature(network).parameters
    return network(**{key: value for key, value in config.items() if key in known})


def build_vae(config: VaeConfig) -> AutoencoderKLTemporalDecoder:
    """An untrained autoencoder with a factor of 2 for every channel count but the first."""
    levels = len(config.channels)
    return AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * levels,
        block_out_channels=tuple(config.channels),
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=1.0,
    )


@torch.no_grad()
def identity_vae() -> AutoencoderKLTemporalDecoder:
    """An autoencoder whose latents are the pixels themselves; :mod:`models.identity` tells how."""
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(CHANNELS,), layers_per_block=1, latent_channels=VALUES,
        scaling_factor=PIXELS_SCALE,
    )  # fmt: skip
    for parameter in vae.parameters():
        nn.init.zeros_(parameter)
    for module in vae.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.ones_(module.weight)
    tensors = vae.state_dict()
    for name, values in (identity_ends("encoder") | identity_ends("decoder")).items():
        tensors[name].copy_(torch.from_numpy(values))
    return vae


def build_image_encoder(config: ImageEncoderConfig) -> CLIPVisionModelWithProjection:
    """Return an untrained CLIP vision tower."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=config.hidden,
            intermediate_size=config.hidden * 4,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            projection_dim=config.embedding,
            image_size=CLIP_SIDE,
            patch_size=32,
            hidden_act="gelu",
        )
    )


def build_unet(config: UnetConfig, embedding: int, latents: int = 4) -> DepthUNet:
    """An untrained denoiser of ``latents`` channels.

    The embedding of frame numbers is zero. A recipe that also freezes ``time_pos_embed`` leaves
    order in time to the temporal convolutions, so that a window may be longer than any clip seen.
    With ``asleep`` its temporal halves add nothing at first, and inference leaves them out until
    a stage has trained them. With ``deterministic`` it does not see the noise.
    """
    attention = config.attention or [True] * (len(config.channels) - 1) + [False]
    kinds = ["CrossAttn" if attends else "" for attends in attention]
    unet = DepthUNet(
        in_channels=2 * latents,
        out_channels=latents,
        block_out_channels=tuple(config.channels),
        down_block_types=tuple(f"{kind}DownBlockSpatioTemporal" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlockSpatioTemporal" for kind in reversed(kinds)),
        num_attention_heads=tuple(config.heads),
        cross_attention_dim=embedding,
        layers_per_block=1,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    )
    for name, parameter in unet.named_parameters():
        if "time_pos_embed" in name or (config.asleep and _ENDS_IN_TIME.search(name)):
            nn.init.zeros_(parameter)
    if config.deterministic:
        nn.init.zeros_(unet.conv_in.weight[:, :latents])
    return unet


_ENDS_IN_TIME = re.compile(
    r"temporal_res_block\.conv2\."
    r"|temporal_transformer_blocks\..*\.(?:ff_in\.net\.2|ff\.net\.2|attn[12]\.to_out\.0)\."
)


_SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": SIGMA_MAX,
    "sigma_min": SIGMA_MIN,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "trained_betas": None,
    "use_karras_sigmas": True,
}
_FEATURE_EXTRACTOR: dict[str, Any] = {
    "crop_size": {"height": CLIP_SIDE, "width": CLIP_SIDE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": list(CLIP_MEAN),
    "image_std": list(CLIP_STD),
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": CLIP_SIDE},
}
_INDEX: dict[str, Any] = {
    "_class_name": "StableVideoDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
}


def save_foundation(
    folder: Path, unet: nn.Module, vae: nn.Module, image_encoder: CLIPVisionModelWithProjection
) -> None:
    """Write a model folder of new networks in the Hugging Face layout."""
    save_network(folder / "unet", unet)
    save_network(folder / "vae", vae)
    save_network(folder / "image_encoder", image_encoder)
    for name, file, content in (
        ("scheduler", "scheduler_config.json", _SCHEDULER),
        ("feature_extractor", "preprocessor_config.json", _FEATURE_EXTRACTOR),
    ):
        (folder / name).mkdir(exist_ok=True)
        _write_json(folder / name / file, content)
    _write_json(folder / "model_index.json", _INDEX)


@torch.no_grad()
def average_with_start(unet: nn.Module, start: Path, share: float) -> None:
    """Bring ``share`` of the weights that the folder ``start`` holds into a trained denoiser."""
    trained = unet.state_dict()
    for path in weight_files(start, "unet"):
        for name, before in load_file(path).items():
            trained[name].lerp_(before.to(trained[name]), share)


def save_trained(
    folder: Path, start: Path, unet: nn.Module, decoder: nn.Module | None = None
) -> None:
    """Write the model folder of a trained denoiser; all else is that of the folder ``start``.

    So is the decoder, unless one is given.
    """
    for path in sorted(start.glob("*/*")):
        home = path.parent.name
        if home != "unet" and (path.suffix == ".json" or path in _loaded(start, home)):
            (folder / home).mkdir(parents=True, exist_ok=True)
            copyfile(path, folder / home / path.name)
    _write_json(folder / "model_index.json", _INDEX)
    save_network(folder / "unet", unet)
    if decoder is not None:
        _replace_decoder(weight_files(folder, "vae"), decoder)


def _loaded(folder: Path, home: str) -> list[Path]:
    """Of a network saved twice, in full and in half precision, one: the other would grow stale."""
    return weight_files(folder, home) if home in NETWORK_STEMS else []


def _replace_decoder(files: list[Path], decoder: nn.Module) -> None:
    """The other half, which computes in a type of its own while training, stays as it was."""
    trained = decoder.state_dict()
    for path in files:
        tensors = load(path.read_bytes())  # not load_file, which maps the file to be replaced
        for name in tensors:
            part = name.removeprefix("decoder.")
            if part != name:
                tensors[name] = trained[part].to(tensors[name].dtype).contiguous().cpu()
        write_whole(path, save(tensors, metadata={"format": "pt"}))


def save_network(home: Path, network: nn.Module) -> None:
    """Write a network's config, and its weights as fp16 safetensors."""
    home.mkdir(parents=True, exist_ok=True)
    if isinstance(network, CLIPVisionModelWithProjection):
        _write_json(home / "config.json", json.loads(network.config.to_json_string()))
        stem = "model"
    else:
        network.save_config(home)
        stem = "diffusion_pytorch_model"
    half = {
        name: tensor.to(torch.float16).contiguous().cpu()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    # Not save_file, whose files other users cannot read.
    write_whole(home / f"{stem}.safetensors", save(half, metadata={"format": "pt"}))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
