"""The registry of models. A new one is a new entry here and nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depthcrafter_cli.models.layout import (
    DEPTHCRAFTER_LAYOUT,
    MARIGOLD_LAYOUT,
    SCHEDULER_CONFIG,
    TRANSFORMERS_LAYOUT,
    Layout,
)

DEPTHCRAFTER_REPO = "tencent/DepthCrafter"
DEPTHCRAFTER_REVISION = "c1a22b53f8abf80cd0b025adf29e637773229eca"
SVD_REPO = "stabilityai/stable-video-diffusion-img2vid-xt"
SVD_REVISION = "9e43909513c6714f1bc78bcb44d96e733cd242aa"

Convention = Literal["inverse depth", "metric depth", "canonical inverse depth", "affine depth"]
"""What a network predicts: 1 / depth up to scale and shift, depth in metres, 1 / depth of a camera
whose picture is as wide as its focal length, or depth up to scale and shift."""

_LARGEST_CONFIG, _LARGEST_NETWORK = 1 << 20, 1 << 32  # bytes


@dataclass(frozen=True)
class Licence:
    """The terms some of a model's weights come under."""

    title: str
    covers: str
    url: str
    non_commercial: bool


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository and where it belongs in our model folder.

    ``revision`` is a commit, so the content is fixed even where ``size`` (bytes) and
    ``sha256`` are None; then the hub's own checksum is what the download must match.
    ``class_name`` is the ``_class_name`` that tells a config from another model's.
    """

    repo: str
    revision: str
    path: str
    target: str
    size: int | None = None
    sha256: str | None = None
    class_name: str | None = None

    @property
    def most_bytes(self) -> int:
        """Its size, or what it does not exceed where that is not known."""
        return self.size or (_LARGEST_CONFIG if self.path.endswith(".json") else _LARGEST_NETWORK)

    @property
    def origin(self) -> str:
        """``repository@revision:path``, for records."""
        return f"{self.repo}@{self.revision}:{self.path}"


@dataclass(frozen=True)
class ModelSettings:
    """The sizes and counts that suit a model; the defaults are those of the reference program.

    ``max_res`` bounds the longer side of the processed picture in pixels, ``window`` and
    ``overlap`` count frames, ``steps`` counts denoising steps. Sides of the processed picture are
    rounded to ``multiple`` pixels, which its networks must be able to halve as often as they do.
    """

    max_res: int = 1024
    window: int = 110
    overlap: int = 25
    steps: int = 5
    multiple: int = 64


@dataclass(frozen=True)
class ModelSpec:
    """All that the program knows of a model before it sees its files.

    The settings that suit a model are not here: they are those of its folder's manifest, and the
    published ones where it has none.

    Attributes:
        layout: which files make its folder complete, and by that which method uses it.
        convention: what its networks predict.
        sources: what a pull fetches, of ``download_bytes`` to within a percent; empty for weights
            that cannot be pulled.
        configs: a folder with its networks' configs, for plans without its weights.
        advice: what a user should know who runs it, in one sentence; empty if nothing.
        base: the registered model that weights of one's own were trained on from, '' if that is
            not known.
    """

    name: str
    title: str
    description: str
    licences: tuple[Licence, ...]
    sources: tuple[HubFile, ...] = ()
    download_bytes: int = 0
    layout: Layout = DEPTHCRAFTER_LAYOUT
    convention: Convention = "inverse depth"
    configs: Path | None = None
    advice: str = ""
    base: str = ""

    @property
    def non_commercial(self) -> bool:
        """Whether any part of the weights forbids commercial use."""
        return any(licence.non_commercial for licence in self.licences)


def _svd(path: str, size: int | None = None, sha256: str | None = None) -> HubFile:
    return HubFile(SVD_REPO, SVD_REVISION, path, path, size, sha256)


def _unet(name: str, class_name: str | None = None) -> HubFile:
    # The published UNet lies at the root of its own repository. Its checksums are not known to us
    # from a second source, so what the hub announces at the first pull is recorded.
    target = f"unet/{name}"
    return HubFile(DEPTHCRAFTER_REPO, DEPTHCRAFTER_REVISION, name, target, class_name=class_name)


DEPTHCRAFTER = ModelSpec(
    name="depthcrafter",
    title="DepthCrafter",
    description="The published weights: the full quality of the paper.",
    licences=(
        Licence(
            title="DepthCrafter licence (academic, research and education only)",
            covers="UNet",
            url=f"https://huggingface.co/{DEPTHCRAFTER_REPO}",
            non_commercial=True,
        ),
        Licence(
            title="Stable Video Diffusion Research License, Copyright (c) Stability AI Ltd. "
            "All Rights Reserved",
            covers="VAE and image encoder",
            url=f"https://huggingface.co/{SVD_REPO}",
            non_commercial=True,
        ),
    ),
    sources=(
        _unet("config.json", "DiffusersUNetSpatioTemporalConditionModelDepthCrafter"),
        _unet("diffusion_pytorch_model.safetensors"),
        _svd(
            "vae/config.json",
            607,
            "8f34272db69f7e2c615da6142ca3f9fdcd7b682bcfd903ceb15035fea79a8303",
        ),
        _svd(
            "vae/diffusion_pytorch_model.fp16.safetensors",
            195_531_910,
            "af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3",
        ),
        _svd(
            "image_encoder/config.json",
            685,
            "65da4496f116d2b297fe864e0f31242fbc57e26a5d95b93310f2034e1e90d0ec",
        ),
        _svd(
            "image_encoder/model.fp16.safetensors",
            1_264_217_240,
            "ae616c24393dd1854372b0639e5541666f7521cbe219669255e865cb7f89466a",
        ),
        _svd(
            "scheduler/scheduler_config.json",
            533,
            "59aa43afc33395efd40fe94c7369c0477b81698f4b65b63e3ae06f26269876d5",
        ),
        _svd(
            "feature_extractor/preprocessor_config.json",
            518,
            "4db495644e3e5bd8fcac52f70e7fc0b413c911086021acf73ac30e5911166e95",
        ),
        _svd(
            "model_index.json",
            496,
            "9119b8837600736ae38009c5dc80c76112307cb2d229a2cfb477d54c329ff53d",
        ),
    ),
    download_bytes=4_509_190_000,
    configs=Path(__file__).parent / "configs",
)

NANO = ModelSpec(
    name="nano",
    title="nano",
    description="A small demonstration model, shipped with the program; no download.",
    licences=(
        Licence(
            title="Apache-2.0",
            covers="all weights",
            url="https://www.apache.org/licenses/LICENSE-2.0",
            non_commercial=False,
        ),
    ),
    advice="Rough depth, not for production. The published weights (non-commercial licence): "
    "depthcrafter weights pull",
)


def _on_hub(repo: str, *paths: str, folder: str = "") -> tuple[HubFile, ...]:
    """Files of which no revision and no checksum is known to us from a second source.

    So the first pull takes the newest and records them, and later ones are checked against that.
    """
    return tuple(HubFile(repo, "main", path, f"{folder}{path}") for path in paths)


def _image_model(
    name: str,
    title: str,
    repo: str,
    licence: str,
    download_bytes: int,
    convention: Convention = "inverse depth",
    *,
    non_commercial: bool = False,
) -> ModelSpec:
    """A depth model of single images that transformers serves, at the root of its repository."""
    page = f"https://huggingface.co/{repo}"
    return ModelSpec(
        name=name,
        title=title,
        description="Depth of each frame on its own.",
        licences=(Licence(licence, "all weights", page, non_commercial),),
        sources=_on_hub(
            repo, "config.json", "preprocessor_config.json", "model.safetensors", folder="model/"
        ),
        download_bytes=download_bytes,
        layout=TRANSFORMERS_LAYOUT,
        convention=convention,
    )


_MARIGOLD_REPO = "prs-eth/marigold-depth-v1-0"

# Licences as their pages on the hub name them.
IMAGE_MODELS = (
    _image_model(
        "depth-anything-v2-small",
        "Depth Anything V2 Small",
        "depth-anything/Depth-Anything-V2-Small-hf",
        "Apache-2.0",
        99_200_000,
    ),
    _image_model(
        "depth-anything-v2-base",
        "Depth Anything V2 Base",
        "depth-anything/Depth-Anything-V2-Base-hf",
        "CC-BY-NC-4.0",
        390_000_000,
        non_commercial=True,
    ),
    _image_model(
        "depth-anything-v2-large",
        "Depth Anything V2 Large",
        "depth-anything/Depth-Anything-V2-Large-hf",
        "CC-BY-NC-4.0",
        1_340_000_000,
        non_commercial=True,
    ),
    _image_model(
        "depth-pro",
        "Depth Pro",
        "apple/DepthPro-hf",
        "Apple Machine Learning Research Model licence (apple-amlr)",
        1_900_000_000,
        "canonical inverse depth",
        non_commercial=True,
    ),
    _image_model(
        "zoedepth",
        "ZoeDepth NYU and KITTI",
        "Intel/zoedepth-nyu-kitti",
        "MIT",
        1_380_000_000,
        "metric depth",
    ),
    _image_model("dpt-large", "DPT Large", "Intel/dpt-large", "Apache-2.0", 1_370_000_000),
    ModelSpec(
        name="marigold",
        title="Marigold v1.0",
        description="Depth of each frame on its own, by diffusion.",
        licences=(
            Licence("Apache-2.0", "all weights", f"https://huggingface.co/{_MARIGOLD_REPO}", False),
        ),
        sources=_on_hub(
            _MARIGOLD_REPO,
            "unet/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.fp16.safetensors",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            SCHEDULER_CONFIG,
            "model_index.json",
        ),
        download_bytes=2_580_000_000,
        layout=MARIGOLD_LAYOUT,
        convention="affine depth",
    ),
)

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in (DEPTHCRAFTER, NANO, *IMAGE_MODELS)}
"""By name. Of those of one layout, a run takes the first that is on this machine."""


def unregistered(title: str, layout: Layout, base: str = "") -> ModelSpec:
    """What is known of a folder of one's own.

    Its licences are those of the model ``base``; nothing is claimed where that is not known.
    """
    return ModelSpec(
        name="custom",
        title=title,
        description="A model folder of your own.",
        licences=MODELS[base].licences if base in MODELS else (),
        layout=layout,
        base=base,
    )


def base_of(spec: ModelSpec) -> str:
    """The ``base`` of weights that are trained on from these."""
    return spec.name if spec.name in MODELS else spec.base


def licence_notice(spec: ModelSpec) -> str:
    """What must be said before the weights are fetched: one line per licence, then the limit."""
    lines = [f"{licence.covers}: {licence.title} - {licence.url}" for licence in spec.licences]
    if spec.non_commercial:
        lines.append(
            "These licences allow non-commercial use only. "
            "By downloading and using the weights you accept them."
        )
    return "\n".join(lines)
