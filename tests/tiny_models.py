"""Depth models of the libraries' own classes, tiny and random, as hub repositories hold them."""

import json
from pathlib import Path

import torch

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
_NECK = {"neck_hidden_sizes": [4, 8, 8, 8], "fusion_hidden_size": 8}


def depth_anything(folder: Path) -> Path:
    """DepthAnythingForDepthEstimation, whose pictures are of multiples of 14 pixels."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        **_SMALL, image_size=28, patch_size=14, out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    torch.manual_seed(0)
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, head_hidden_size=4, patch_size=14,
        **_NECK,
    )  # fmt: skip
    processor = {
        "image_processor_type": "DPTImageProcessor", "size": {"height": 42, "width": 42},
        "keep_aspect_ratio": True, "ensure_multiple_of": 14, "resample": 3,
    }  # fmt: skip
    return _saved(DepthAnythingForDepthEstimation(config), processor, folder)


def dpt(folder: Path) -> Path:
    """DPTForDepthEstimation, whose pictures are brought to a square."""
    from transformers import DPTConfig, DPTForDepthEstimation

    torch.manual_seed(0)
    config = DPTConfig(
        **_SMALL, **_NECK, intermediate_size=16, image_size=32, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_ignore_stages=[],
    )  # fmt: skip
    processor = {"size": 32, "keep_aspect_ratio": False, "ensure_multiple_of": 1, "resample": 2}
    return _saved(DPTForDepthEstimation(config), processor, folder)


def zoedepth(folder: Path) -> Path:
    """ZoeDepthForDepthEstimation, which gives metres and gets a mirrored border."""
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

    backbone = BeitConfig(
        **_SMALL, intermediate_size=16, image_size=32, patch_size=16, out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False, use_relative_position_bias=True,
    )  # fmt: skip
    torch.manual_seed(0)
    config = ZoeDepthConfig(
        backbone_config=backbone, reassemble_factors=[4, 2, 1, 0.5], bottleneck_features=8,
        num_relative_features=4, num_attractors=[4, 2, 2, 1], bin_embedding_dim=8,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        patch_transformer_hidden_size=8, patch_transformer_intermediate_size=8,
        patch_transformer_num_attention_heads=2, readout_type="project", **_NECK,
    )  # fmt: skip
    processor = {
        "image_processor_type": "ZoeDepthImageProcessor", "size": {"height": 64, "width": 96},
        "keep_aspect_ratio": True, "ensure_multiple_of": 32, "do_pad": True,
    }  # fmt: skip
    return _saved(ZoeDepthForDepthEstimation(config), processor, folder)


def depth_pro(folder: Path) -> Path:
    """DepthProForDepthEstimation, which gives 1 / depth and a field of view."""
    from transformers import DepthProConfig, DepthProForDepthEstimation, Dinov2Config

    encoder = Dinov2Config(**_SMALL, patch_size=8, image_size=32)
    torch.manual_seed(0)
    config = DepthProConfig(
        patch_size=32, image_model_config=encoder, patch_model_config=encoder,
        fov_model_config=encoder, scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.2], scaled_images_feature_dims=[8, 8],
        intermediate_hook_ids=[2, 1], intermediate_feature_dims=[8, 8], fusion_hidden_size=16,
        num_fov_head_layers=0, use_fov_model=True, merge_padding_value=1,
    )  # fmt: skip
    processor = {"image_processor_type": "DepthProImageProcessor", "size": 64}
    return _saved(DepthProForDepthEstimation(config), processor, folder)


def _saved(model: torch.nn.Module, processor: dict[str, object], folder: Path) -> Path:
    model.save_pretrained(folder)
    whole = {"do_normalize": True, "image_mean": MEAN, "image_std": STD, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(whole))
    return folder


def marigold(folder: Path) -> Path:
    """A MarigoldDepthPipeline in half precision, as the published one is fetched."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=4, layers_per_block=1,
        block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    config = CLIPTextConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, projection_dim=16, eos_token_id=31, bos_token_id=30,
    )  # fmt: skip
    text = CLIPTextModel(config)
    for name, part in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        part.half().save_pretrained(folder / name, variant="fp16")
    DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    index = {
        "_class_name": "MarigoldDepthPipeline",
        "default_denoising_steps": 2,
        "default_processing_resolution": 64,
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
