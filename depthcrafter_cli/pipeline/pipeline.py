"""The algorithm on one screen: frames in, raw disparity out, nothing held for the whole shot."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from depthcrafter_cli.depth.align import Overlap
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.undisturbed import undisturbed_steps
from depthcrafter_cli.pipeline.conditioning import Conditioning, condition, encode
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.decode import decode_disparity, on_grid
from depthcrafter_cli.pipeline.denoise import (
    Velocity,
    anchor,
    denoise,
    require_numbers,
    velocity_of,
)
from depthcrafter_cli.pipeline.frames import checked
from depthcrafter_cli.pipeline.noise import NoiseSource, noise_source
from depthcrafter_cli.pipeline.overlaps import has_skeleton, overlap_of, skeleton_frames
from depthcrafter_cli.pipeline.resume_point import Keep, WindowPoint, forget
from depthcrafter_cli.pipeline.retries import Fallback, Retries, no_fallback
from depthcrafter_cli.pipeline.schedule import karras_schedule
from depthcrafter_cli.pipeline.skeleton import Skeleton
from depthcrafter_cli.pipeline.stitch import stitch
from depthcrafter_cli.pipeline.windows import FilledWindow, Layout, count_windows, split
from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.types import Disparity, RgbImage


def estimate_disparity(
    components: Components,
    config: PipelineConfig,
    frames: Iterable[RgbImage],
    *,
    total: int | None = None,
    observer: Observer = ignore,
    fallback: Fallback = no_fallback,
    start: WindowPoint | None = None,
    keep: Keep = forget,
) -> Iterator[Disparity]:
    """Yield raw disparity, float32 [n, H, W] in [0, 1], in order, as soon as it is final.

    DepthCrafter (arXiv 2409.02095) on one shot. Larger is nearer; one scale and one shift are
    unknown for all frames together.

    Args:
        components: the networks, and the memory plan to begin with.
        config: the settings.
        frames: uint8 [H, W, 3] RGB, all of one size, sides divisible by
            ``components.side_multiple`` (64 for the published model).
        total: how many frames will come, exactly, where known: windows are then spread over
            them. Reference noise needs it.
        observer: receives a :class:`Progress` per batch, step and chunk.
        fallback: gives the plan to go on with where memory ran out.
        start: where another pass over the shot stopped. ``frames`` then begin with frame
            ``start.first_read(config.encode_batch)``, and the result with ``start.decoded``.
        keep: receives a :class:`WindowPoint` after each step, and after each window
            before its decoding; for each, before the observer is told of it.

    Raises:
        InputError: no frames, or frames of another type or size than expected.
        UsageError: reference noise without ``total``; or the networks gave values that are no
            numbers, which is a WeightsError where they computed in float32.
        MemoryLimitError: memory ran out under the smallest plan.
    """
    if total is None and start is None and isinstance(frames, Sized):
        total = len(frames)
    shot = ShotPass(components, config, total, observer, fallback, start, keep)
    yield from shot.run(frames)


class ShotPass:
    """One pass over one shot: the stages, chained, each reporting what it did."""

    def __init__(
        self,
        components: Components,
        config: PipelineConfig,
        total: int | None,
        observer: Observer,
        fallback: Fallback = no_fallback,
        start: WindowPoint | None = None,
        keep: Keep = forget,
    ) -> None:
        self.config, self.observer, self.total = config, observer, total
        self.memory = Retries(components, fallback)
        self.start, self.keep = start, keep
        self.reached = start  # the pass as it is between two windows; None before the first
        published = Layout(config.window, config.overlap)
        spread = published if config.noise == "reference" else replace(published, total=total)
        # A pass over a stream of unknown length began with the published windows, and goes on so.
        kept = start is None or start.last or start.next_frame == spread.start(start.windows)
        self.layout = spread if kept else published
        windows = None if total is None else count_windows(total, config.window, config.overlap)
        keys: tuple[int, ...] = ()
        if total is not None and windows is not None and has_skeleton(config.align, windows):
            keys, windows = skeleton_frames(config.window, total), windows + 1
        self.skeleton = Skeleton(keys, () if start is None else start.keys)
        self.total_steps = None if windows is None else windows * config.steps
        self.schedule = karras_schedule(config.steps)
        self.steps_done = self.frames_read = self.frames_decoded = 0
        if start is not None:
            self.steps_done = start.windows * config.steps
            self.frames_read = start.first_read(config.encode_batch)
            self.frames_decoded = start.decoded

    @property
    def components(self) -> Components:
        """The networks, under the plan in force."""
        return self.memory.components

    @undisturbed_steps
    def run(self, frames: Iterable[RgbImage]) -> Generator[Disparity, None, None]:
        """Yield raw disparity, float32 [n, H, W], of frames."""
        for chunk in on_grid(self.latents(frames), self.config.decode_chunk):
            self.observer(Progress("decode", self.frames_decoded, self.total))
            disparity = self.decode(chunk)
            self.frames_decoded += len(disparity)
            yield disparity
            # Told once the caller asks for more, and has kept what it got.
            self.observer(Progress("decode", self.frames_decoded, self.total))

    def latents(self, frames: Iterable[RgbImage]) -> Iterator[Tensor]:
        """Frames to stitched latents [n, 4, h, w], final as soon as no later window covers them."""
        config, device = self.config, self.components.device
        overlap: Tensor | None = None
        if self.start is not None:
            overlap = None if self.start.overlap is None else self.start.overlap.to(device)
            yield self.start.latents.to(device)
            if self.start.last:
                return
        first, video = checked(frames, self.components.side_multiple)
        latents = self.components.latent_shape(*first.shape[:2])
        noise = noise_source(config, (3, *first.shape[:2]), latents, self.total)
        passed = 0 if self.start is None else self.start.windows
        conditioning = self._conditioning(video, noise)
        for filled in split(conditioning, self.layout, passed):
            work = partial(self.denoised, filled, noise, overlap)
            window = self.memory.until_it_fits("denoise", work)
            compared = self.compared(filled, noise, overlap, window)
            stitched, final = stitch(window, overlap), filled.final
            overlap = stitched[final:] if final < len(stitched) else None
            waiting = torch.cat([self.between(stitched).latents.to(device), stitched[:final]])
            done = filled.window.index + 1
            keys = () if filled.last else self.skeleton.kept
            self.reached = WindowPoint(
                done, self.frames_decoded, waiting, overlap, filled.last, keys=keys
            )
            self.keep(replace(self.reached, overlaps=compared))
            yield stitched[:final]

    def compared(
        self, filled: FilledWindow[Conditioning], noise: NoiseSource, before: Tensor | None,
        own: Tensor,
    ) -> tuple[Overlap, ...]:  # fmt: skip
        """What a window and the one before say of the frames they share, if it is asked for.

        With the last window, also what all of them and the skeleton say.
        """
        overlaps, window, chunk = list[Overlap](), filled.window, self.config.decode_chunk
        if self.config.align != "off" and before is not None:
            overlaps.append(overlap_of(window, self.layout, before, own, self.decode, chunk))
        if self.skeleton:
            self.skeleton.add(filled, own)
        if self.skeleton and filled.last:
            latents = self.memory.until_it_fits("denoise", partial(self.pinned, noise))
            starts = [*map(self.layout.start, range(window.index + 1))]
            overlaps += self.skeleton.pins(latents, starts, self.decode, chunk)
        return tuple(overlaps)

    def pinned(self, noise: NoiseSource) -> Tensor:
        """The latents of the skeleton."""
        self.steps_done = (self.total_steps or 0) - self.config.steps
        device = self.components.device
        start = self.schedule.init_noise_sigma * self.skeleton.noise(noise).to(device)
        conditioning = self.skeleton.conditioning(device)
        return self.through_network(start, conditioning, self.count_step)

    def between(self, like: Tensor) -> WindowPoint:
        """The pass as it is before the window under way, whose latents are ``like`` these."""
        if self.reached is None:
            return WindowPoint(0, 0, like[:0], None, last=False)
        return self.reached.after(self.frames_decoded)

    def _conditioning(
        self, frames: Iterator[RgbImage], noise: NoiseSource
    ) -> Iterator[Conditioning]:
        """The conditioning of each frame of the windows to come."""
        config, begin = self.config, self.frames_read
        stream = condition(
            frames, self.encode, noise, config.noise_aug, config.encode_batch, begin, self.total
        )
        known = 0 if self.start is None else self.start.next_frame - begin
        return islice(self._counted(stream), known, None)

    def encode(self, frames: Tensor, added: Sequence[Tensor]) -> Conditioning:
        """Return the conditioning of some frames."""
        return self.memory.until_it_fits(
            "condition", lambda: encode(self.components, frames, added)
        )

    def denoised(
        self, filled: FilledWindow[Conditioning], noise: NoiseSource, overlap: Tensor | None
    ) -> Tensor:
        """One window's latents [m, 4, h, w], before they are blended into the result."""
        device = self.components.device
        at, steps = filled.window.index, 0
        start = anchor(noise.latents(filled.window).to(device), overlap, self.schedule)
        if self.start is not None and self.start.under_way is not None and at == self.start.windows:
            start, steps = self.start.under_way.to(device), self.start.steps
        self.steps_done = at * self.config.steps + steps
        self.observer(Progress("denoise", self.steps_done, self.total_steps, unit="steps"))
        return self.through_network(start, Conditioning.join(filled.items), self.step_done, steps)

    def through_network(
        self, start: Tensor, conditioning: Conditioning, on_step: Callable[[Tensor], None],
        steps: int = 0,
    ) -> Tensor:  # fmt: skip
        """A window's latents from its starting ones, of which ``steps`` are done."""
        guidance = self.config.guidance
        with self.components.on_device(self.components.unet):
            conditional = self.velocity(conditioning)
            unconditional = self.velocity(conditioning.blank()) if guidance > 1 else None
            return denoise(
                start, conditional, unconditional, self.schedule, guidance, on_step, steps
            )

    def velocity(self, conditioning: Conditioning) -> Velocity:
        """Return the network's velocity function for one window."""
        return velocity_of(self.components, conditioning, self.config.noise_aug)

    def decode(self, latents: Tensor) -> Disparity:
        """One chunk of the decode grid to raw disparity."""
        decoded: Disparity = self.memory.until_it_fits(
            "decode", lambda: decode_disparity(self.components, latents)
        ).numpy()
        return decoded

    def _counted(self, conditioning: Iterator[Conditioning]) -> Iterator[Conditioning]:
        self.observer(Progress("condition", self.frames_read, self.total))
        for item in conditioning:
            self.frames_read += 1
            self.observer(Progress("condition", self.frames_read, self.total))
            yield item

    def step_done(self, latents: Tensor) -> None:
        """Keep and count a step; it is given the window's latents after that step."""
        self.count_step(latents, keeps=True)

    def count_step(self, latents: Tensor, *, keeps: bool = False) -> None:
        """Count a step, and keep the pass with it if it is of a window of the result."""
        self.steps_done += 1
        steps = self.steps_done % self.config.steps
        # Before anything of it is kept to go on from.
        require_numbers(latents, self.components.dtype, f"in step {steps or self.config.steps}")
        if steps and keeps:  # after the last one comes the window's own point
            self.keep(replace(self.between(latents), steps=steps, under_way=latents))
        self.observer(Progress("denoise", self.steps_done, self.total_steps, unit="steps"))
