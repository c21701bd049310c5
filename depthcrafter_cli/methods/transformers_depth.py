"""Any network that transformers serves for depth estimation: Depth Anything, Depth Pro, ...

The pictures come at the size that the model's processor would make of them, and become numbers
here: so the size of the disparity is known before anything is loaded, and torchvision, which some
of the processors need, is not needed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.methods.base import Machine, MethodRequest, configured, refuse, size_within
from depthcrafter_cli.methods.per_frame import (
    NEAREST,
    PerFrameConfig,
    PerFrameMethod,
    PerFramePlan,
    loading,
    require_whole,
)
from depthcrafter_cli.models.layout import read_json
from depthcrafter_cli.models.weights import InstalledModel
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.types import Size

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Processor:
    """What a preprocessor_config.json says of pictures.

    Attributes:
        size: what they are brought to; where ``keeps_aspect``, one side of it is met.
        multiple: what their sides are then multiples of.
        mean, std: of each channel, in [0, 1].
        mirrors: whether they are enlarged by their mirror image, which is cut off afterwards.
    """

    size: Size
    keeps_aspect: bool
    multiple: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirrors: bool

    @staticmethod
    def read(folder: Path) -> "Processor":
        """That of a folder. Raises WeightsError for one that makes no sense."""
        path = folder / "preprocessor_config.json"
        config = read_json(path)
        with content_errors(path, WeightsError, "expected a depth model's: pull it again"):
            size, zoe = config["size"], "Zoe" in str(config.get("image_processor_type", ""))
            height, width = (size, size) if type(size) is int else (size["height"], size["width"])
            multiple = int(config.get("ensure_multiple_of") or 1)
            mean, std = (tuple(map(float, config[name])) for name in ("image_mean", "image_std"))
            if min(height, width, multiple) < 1 or len(mean) != 3 or len(std) != 3 or 0 in std:
                raise ValueError("its sizes or its mean and deviation make no sense")
            return Processor(
                size=Size(int(height), int(width)),
                keeps_aspect=bool(config.get("keep_aspect_ratio", zoe)),
                multiple=multiple,
                mean=mean,
                std=std,
                mirrors=zoe and bool(config.get("do_pad", True)),
            )

    def input_size(self, source: Size) -> Size:
        """What a picture is brought to, scaled as little as meets one side of ``size``."""
        across, down = self.size.width / source.width, self.size.height / source.height
        if self.keeps_aspect:
            across = down = across if abs(1 - across) < abs(1 - down) else down
        return Size(
            max(1, round(down * source.height / self.multiple)) * self.multiple,
            max(1, round(across * source.width / self.multiple)) * self.multiple,
        )


class TransformersMethod(PerFrameMethod):
    """A model that transformers' AutoModelForDepthEstimation loads."""

    def _plan(
        self, request: MethodRequest, source: Size, weights: InstalledModel
    ) -> "TransformersPlan":
        processor = Processor.read(weights.path / "model")
        config = configured(PerFrameConfig(), request, self.name)
        border = Size(0, 0)
        if processor.mirrors:  # as ZoeDepth was trained, against artefacts at the edges
            border = Size(*(int(math.sqrt(side / 2) * 3) for side in (source.height, source.width)))
        whole = Size(source.height + 2 * border.height, source.width + 2 * border.width)
        if request.max_res is None:
            taken = processor.input_size(whole)
        elif processor.keeps_aspect:
            taken = size_within(whole, request.max_res, processor.multiple)
        else:
            refuse(self.name, "max_res")
        size = Size(
            round(taken.height * source.height / whole.height),
            round(taken.width * source.width / whole.width),
        )
        return TransformersPlan(
            weights=weights, spec=weights.spec, size=size, multiple=processor.multiple,
            config=config, processor=processor, taken=taken,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TransformersPlan(PerFramePlan):
    """``taken`` is the size of what the network sees: ``size`` and a border, where it has one."""

    processor: Processor
    taken: Size

    def networks(self, folder: Path, machine: Machine) -> Any:
        """The network, on its device and in its precision. Raises WeightsError."""
        import torch
        from transformers import AutoModelForDepthEstimation

        home = folder / "model"
        _require_own_weights(home)
        with loading(home):
            # No file is opened but these, and no code is run but the library's.
            network, told = AutoModelForDepthEstimation.from_pretrained(
                home,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are in what it tells
                output_loading_info=True,
            )
            require_whole(home, told)
        network.eval().requires_grad_(False)
        return network.to(machine.device, getattr(torch, machine.dtype))

    def predict(self, networks: Any, pictures: "Tensor", first: int) -> "Tensor":
        """What the network says of pictures, with its border cut off, as disparity."""
        import torch

        def channels(values: tuple[float, ...]) -> "Tensor":
            return torch.tensor(values, device=pictures.device)[:, None, None]

        size, taken = self.size, self.taken
        values = (pictures.float() / 255 - channels(self.processor.mean)) / channels(
            self.processor.std
        )
        left, top = (taken.width - size.width) // 2, (taken.height - size.height) // 2
        right, below = taken.width - size.width - left, taken.height - size.height - top
        values = torch.nn.functional.pad(values, (left, right, top, below), mode="reflect")
        found = networks(values.to(networks.dtype))
        depth = found.predicted_depth.float()
        if depth.shape[1:] != values.shape[2:]:
            depth = torch.nn.functional.interpolate(
                depth[:, None], size=values.shape[2:], mode="bilinear"
            )[:, 0]
        depth = depth[:, top : top + size.height, left : left + size.width]
        if self.spec.convention == "metric depth":
            return 1 / depth.clamp(min=NEAREST)
        if self.spec.convention == "canonical inverse depth":
            # Of a camera whose focal length is the picture's width; the network names its own.
            view = torch.deg2rad(found.field_of_view.float()).reshape(-1, 1, 1)
            return depth * 2 * torch.tan(view / 2)
        return depth


def _require_own_weights(home: Path) -> None:
    """Raise WeightsError for a config that would have a library fetch parts from elsewhere."""
    config: Mapping[str, Any] = read_json(home / "config.json")
    if config.get("use_pretrained_backbone") or config.get("use_timm_backbone"):
        raise WeightsError(
            f"got a config in {home} that takes a part of the network from another place, expected "
            "all of it in the folder: use a model that is whole."
        )
