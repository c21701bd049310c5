"""The training recipe: one TOML file that names the data, the start and every stage in order.

What each key means stands here; :mod:`~depthcrafter_cli.training.recipe` reads the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from depthcrafter_cli.datasets.clip import ClipSize

LayerGroup = Literal["all", "temporal", "spatial", "decoder"]


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """``steps``; the rate warms up over ``warmup`` steps and falls to a tenth by cosine.

    With ``constant_rate`` it stays where it is, as the paper's.
    ``optimizer`` is AdamW, the paper's; AdamW that keeps its state in 8 bits, a quarter of the
    memory; or Muon, which needs fewer steps to train from nothing. ``betas`` are AdamW's, also for
    what Muon leaves to it. Parameters whose names contain a key of ``rates`` learn at that share of
    the learning rate. ``ema`` is the decay of the averaged weights that are kept (0: no
    average), ``ema_on`` says whether on the ``device`` or ``host``. So does ``optimizer_on`` of
    AdamW's state: on the host it steps there, on a copy of the weights. ``clip_norm`` is the
    largest gradient norm, ``save_every`` the checkpoint interval in steps, ``keep_last`` how many
    checkpoints are kept under the number of their step, beside the one that a run goes on from.
    """

    steps: int
    learning_rate: float
    optimizer: Literal["adamw", "adamw8bit", "muon"] = "adamw"
    optimizer_on: Literal["device", "host"] = "device"
    warmup: int = 100
    constant_rate: bool = False
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    ema: float = 0.998
    ema_on: Literal["device", "host"] = "device"
    rates: dict[str, float] = field(default_factory=dict)
    clip_norm: float = 1.0
    save_every: int = 200
    keep_last: int = 0


@dataclass(frozen=True)
class ViewSize:
    """``share`` is how often views have this size."""

    height: int
    width: int
    share: float = 1.0


@dataclass(frozen=True)
class ViewsConfig:
    """Random parts of clips, all of one of the ``sizes`` in each step.

    A part is brought to its size by a factor between the two ``scales``, or the least that fits.
    With ``colours`` those are changed, too.
    """

    sizes: list[ViewSize]
    scales: list[float] = field(default_factory=lambda: [0.5, 1.0])
    colours: bool = True


@dataclass(frozen=True, kw_only=True)
class StageConfig(Optimisation):
    """One stage of the denoiser's training (arXiv 2409.02095, section 3.3), or of the decoder's.

    ``trains`` names the layers of the denoiser that learn, or the ``decoder`` (a stage of ours, for
    models of one step, whose clips are always streamed). ``sources`` are the data with their
    shares. Every step shows clips of one length, random in ``frames`` (least, most), of which there
    are ``batch``; or, with ``batch_frames``, as many as have that many frames together.
    With ``strides`` the frames of a step are so many apart, 1, 2 or 3 of ``[1, 2, 3]`` alike often,
    as far as clips are long enough.
    The share ``condition_dropout`` of a denoiser's samples is denoised without its pictures, which
    is the branch that ``--guidance`` compares with. The shares ``skip_dropout`` of them, one for
    each level from the finest on, go without that level's skips, so that shape comes from the deep
    levels. With ``sampled_truth`` the latents of disparity are drawn from the VAE's posterior, anew
    in every step, instead of being its mode.
    ``micro_batch`` clips at a time go through the network (0: all at once), and their gradients are
    added up.
    ``checkpointing`` computes activations twice instead of keeping them. With ``views`` a step
    shows parts of clips instead of whole ones, which must be streamed for that.
    ``keep`` is whether a stage ends with its ``last`` weights, or with the ``best`` by validation's
    AbsRel, those that it began with included.
    """

    name: str
    trains: LayerGroup
    sources: dict[str, float]
    frames: list[int]
    batch: int = 8
    batch_frames: int = 0
    micro_batch: int = 0
    checkpointing: bool = False
    keep: Literal["last", "best"] = "last"
    views: ViewsConfig | None = None
    strides: list[int] = field(default_factory=list)
    condition_dropout: float = 0.0
    skip_dropout: list[float] = field(default_factory=list)
    sampled_truth: bool = False


@dataclass(frozen=True)
class SourceConfig:
    """Where clips come from.

    ``generated`` draws ``clips`` clips of the seeds from ``first_seed`` on, in ``style``, each of
    one of the ``sizes``. All other kinds read ``path``: ``stacks`` are arrays of single frames,
    at the size they have; ``folder`` is our own layout, the rest are those of published sets;
    their clips are resized to ``height`` and ``width``. With ``keep_aspect`` what is too wide or
    too high for these is cropped, at random where it is trained on; else clips are squeezed.
    With ``mirror`` half of the clips that are trained on are mirrored.
    """

    kind: str
    path: str = ""
    height: int = 320
    width: int = 640
    keep_aspect: bool = True
    mirror: bool = True
    style: Literal["realistic", "precise"] = "realistic"
    clips: int = 0
    first_seed: int = 0
    sizes: list[ClipSize] = field(default_factory=list)

    @property
    def extents(self) -> list[tuple[int, int]]:
        """(height, width) of its clips, as far as the recipe tells."""
        drawn = [(size.height, size.width) for size in self.sizes]
        return drawn or [(self.height, self.width)]


@dataclass(frozen=True)
class ObjectiveConfig:
    """Which noise levels are trained.

    Log-normal around ``log_mean`` with ``log_std``, or, where ``levels`` are given, those of a
    short sampler alone: drawn with ``level_shares`` and spread log-normally by ``level_spread``.
    With probability ``rollout`` a sample at the last but one of them starts from the network's own
    estimate, as it does when sampling, instead of from the truth. ``far`` above 0 gives what is far
    more weight, up to (1 + far) / far times that of what is near (the paper: 0, all alike).
    ``depth`` is the weight of the estimate's error as depth, beside that of its latents (the
    paper: 0).
    """

    log_mean: float = 0.7
    log_std: float = 1.6
    levels: list[float] = field(default_factory=list)
    level_shares: list[float] = field(default_factory=list)
    level_spread: float = 0.3
    rollout: float = 0.0
    far: float = 0.0
    depth: float = 0.0


@dataclass(frozen=True)
class ValidationConfig:
    """Every ``every`` steps the first ``clips`` clips of ``source`` go through the pipeline.

    So do those of the sources in ``also``, whose scores are kept under their names. ``frames`` of
    each at most; depth from ``max_depth`` on does not count. It is in metres, or for a ``folder``
    or ``stacks``, whose clips may have any unit, in medians of the clip's depth.
    """

    source: str
    also: list[str] = field(default_factory=list)
    every: int = 500
    clips: int = 8
    frames: int = 16
    max_depth: float = 80.0

    @property
    def sources(self) -> list[str]:
        """The names of all sources that are scored."""
        return [self.source, *self.also]


@dataclass(frozen=True)
class VaeConfig:
    """Stage 0b: the autoencoder, on disparity, with an eye on pictures.

    Every step sees ``frames`` squares of disparity, ``crop`` pixels wide, and ``pictures`` whole
    frames. The weights are those of the loss terms: disparity's gradients, disparity guessed from
    the pictures' latents, pictures restored from them, and the Kullback-Leibler term; disparity's
    own values weigh 1.
    """

    optimisation: Optimisation
    channels: list[int]
    frames: int = 8
    crop: int = 64
    pictures: int = 6
    edge_weight: float = 0.5
    foresight_weight: float = 1.0
    picture_weight: float = 1.0
    kl_weight: float = 1e-3


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Stage 0a: the CLIP tower, on the coarse layout of disparity in ``frames`` frames a step."""

    optimisation: Optimisation
    hidden: int
    layers: int
    heads: int
    embedding: int
    frames: int = 24


@dataclass(frozen=True)
class UnetConfig:
    """The shape of a denoiser that starts from nothing, level by level from the finest.

    ``attention`` says which levels have transformers; where it is empty, all but the deepest do.
    ``asleep`` lets its temporal halves add nothing until a stage trains them, ``deterministic``
    keeps the noise from it: with one step there is nothing to sample.
    """

    channels: list[int]
    heads: list[int]
    attention: list[bool] = field(default_factory=list)
    asleep: bool = False
    deterministic: bool = False


@dataclass(frozen=True)
class FoundationConfig:
    """Stage 0, for a model that starts from nothing: its networks, learnt from ``source``.

    Without ``vae`` the model works on pixels: its VAE is the identity, which needs no training.
    The image encoder is trained, or that of the model ``tower`` is taken, exactly one of them.
    """

    unet: UnetConfig
    source: str | None = None
    vae: VaeConfig | None = None
    image_encoder: ImageEncoderConfig | None = None
    tower: str = ""

    @property
    def trained(self) -> dict[str, VaeConfig | ImageEncoderConfig]:
        """The networks that are trained, by the names of their checkpoints."""
        parts = {"image_encoder": self.image_encoder, "vae": self.vae}
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA: matrices of ``rank`` beside weights that stay as they are, and all that is trained.

    They are put beside the linear layers whose names contain one of ``targets`` (``attn``, ``ff``,
    ``proj``), of which each stage trains those of its kind. What they add counts ``alpha / rank``
    times; 0 is as much as the rank.
    """

    rank: int = 16
    alpha: int = 0
    targets: list[str] = field(default_factory=lambda: ["attn"])


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A whole recipe; ``seed`` fixes every random choice.

    It starts from ``weights`` (a model's name or folder) or from ``foundation``, exactly one of
    them. ``precision`` is ``fp32`` or ``bf16``. ``latents`` says whether clips are encoded once and
    ``cached``, or ``streamed`` and encoded anew each time; what is streamed is read ahead by
    ``workers`` processes (on Windows, where none can fork, by one thread if there are any).
    Parameters whose names contain one of ``frozen`` are never trained. ``settings`` go into the
    model's manifest: the max_res, multiple, window, overlap and steps that suit it.
    ``start_share`` of the starting weights stays in the denoiser that is delivered, which does
    better so on data unlike those of the recipe (arXiv 2109.01903). With ``adapter`` that is all
    that is trained and delivered.
    A clip that cannot be read, or of which no depth is known, is left out and told of; where more
    than the share ``bad_clips`` of a source's are so (one may be, unless it is 0), the run ends.
    """

    sources: dict[str, SourceConfig]
    stages: list[StageConfig]
    weights: str = ""
    foundation: FoundationConfig | None = None
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    validation: ValidationConfig | None = None
    settings: dict[str, int] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "bf16"
    latents: Literal["cached", "streamed"] = "cached"
    workers: int = 0
    start_share: float = 0.0
    adapter: AdapterConfig | None = None
    bad_clips: float = 0.1

    @property
    def stage_names(self) -> list[str]:
        """Of all that leave a checkpoint, those of stage 0 included."""
        before = [*self.foundation.trained] if self.foundation else []
        return before + [stage.name for stage in self.stages]

    @property
    def other_sources(self) -> set[str]:
        """Those that validation and stage 0 use."""
        names = self.validation.sources if self.validation else []
        learnt = [self.foundation.source] if self.foundation else []
        return {*names, *(name for name in learnt if name is not None)}

    def stage_seed(self, stage: StageConfig) -> int:
        """One of the stage's own, so that no two stages see the same noise."""
        return 1000 * self.seed + self.stages.index(stage)
