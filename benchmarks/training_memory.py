"""Memory of a training step of the published model, by stage: counted, not guessed.

    python benchmarks/training_memory.py [--height 320] [--width 640] [--adapter RANK]

The same count as `depthcrafter plan RECIPE`, one clip at a time with activation checkpointing, all
in bfloat16 and all in float32. Mixed precision keeps norms in float32 and products in bfloat16, and
so lies between. Prints a Markdown table, GB; its last column is what each of eight cards takes that
share the model, which an adapter's are not made to.
"""

import argparse
from functools import partial

from depthcrafter_cli.models.layout import read_json
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.models.weights import find_configs
from depthcrafter_cli.training.adapter import add_adapter
from depthcrafter_cli.training.config import AdapterConfig, LayerGroup, StageConfig
from depthcrafter_cli.training.memory import Step, stage_memory

ADAPTED: tuple[tuple[LayerGroup, int], ...] = (("all", 25), ("all", 40), ("spatial", 45))
STAGES: tuple[tuple[LayerGroup, int], ...] = (("all", 25), ("temporal", 110), ("spatial", 45))
GB = 1e9


def published(rank: int = 0) -> DepthUNet:
    """The network of the registry's configs, with an adapter of ``rank`` beside its attention."""
    path = find_configs("depthcrafter").path / "unet" / "config.json"
    unet: DepthUNet = DepthUNet.from_config(read_json(path))
    if rank:
        add_adapter(unet, AdapterConfig(rank), seed=0)
    return unet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=320)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--adapter", type=int, default=0, metavar="RANK")
    given = parser.parse_args()
    shared = "" if given.adapter else " shared by 8 |"
    heads = "stage | trained, M | weights | gradients | AdamW | EMA | working, one clip | sum"
    print(f"| {heads} |{shared}")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |" + " --- |" * bool(shared))
    for trains, frames in ADAPTED if given.adapter else STAGES:
        stage = StageConfig(
            name=trains, trains=trains, sources={}, frames=[1, frames], steps=1, learning_rate=1e-5,
            micro_batch=1, checkpointing=True,
        )  # fmt: skip
        step = Step(1, frames, 4, given.height // 8, given.width // 8)
        memory = stage_memory(partial(published, given.adapter), stage, [], step=step)
        fixed = memory.weights, memory.gradients, memory.optimizer, memory.average
        low, high = memory.working
        each = memory.kept_by_each(8)
        last = f" {(each + low) / GB:.0f} to {(each + high) / GB:.0f} |"
        print(
            f"| {trains}, {frames} frames | {memory.trained / 1e6:.0f} "
            f"| {' | '.join(f'{part / GB:.1f}' for part in fixed)} "
            f"| {low / GB:.1f} to {high / GB:.1f} "
            f"| {(memory.kept + low) / GB:.0f} to {(memory.kept + high) / GB:.0f} |"
            + last
            * bool(shared),
            flush=True,
        )


if __name__ == "__main__":
    main()
