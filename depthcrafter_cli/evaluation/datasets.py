"""The five test sets of the DepthCrafter paper, as its published scripts run them."""

from dataclasses import dataclass

from depthcrafter_cli.types import Size


@dataclass(frozen=True)
class Dataset:
    """A test set: how far its depth is trusted, how long its clips are, at what size they run."""

    name: str
    max_depth: float  # metres
    max_frames: int
    model_size: Size


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("sintel", max_depth=70.0, max_frames=50, model_size=Size(448, 1024)),
        Dataset("scannet", max_depth=10.0, max_frames=90, model_size=Size(640, 832)),
        Dataset("kitti", max_depth=80.0, max_frames=110, model_size=Size(384, 1280)),
        Dataset("bonn", max_depth=10.0, max_frames=110, model_size=Size(512, 640)),
        Dataset("nyuv2", max_depth=10.0, max_frames=1, model_size=Size(448, 640)),
    )
}
