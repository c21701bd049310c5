"""How well cuts are found: films of drawn clips whose cuts are known, through several detectors.

    python benchmarks/cuts.py                        # 48 films; about five minutes of one core
    python benchmarks/cuts.py --detector ours scdet adaptive transnet
    python benchmarks/cuts.py --video film.mp4       # only what ours takes a frame, decoding too

``scdet`` is FFmpeg's filter, through PyAV. ``adaptive`` needs ``pip install scenedetect[opencv]``,
``transnet`` is ``--cuts transnetv2``. Prints, for each detector, how many cuts of each kind were
found (hard ones to a frame, gradual ones anywhere in them, two frames more allowed), how many false
ones there were by the kind of film, F1, and the CPU time a frame; and the false ones in single
takes. All detectors see the same pictures of 128x72, so the times leave decoding out.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.shots.detect import find_cuts, picture_size
from depthcrafter_cli.synthetic import draw_clip
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.film import find_shots
from depthcrafter_cli.workflows.request import RunRequest

SIZE = Size(72, 128)
CLIPS, LENGTH, FIRST_SEED = 28, 56, 20_000_000  # seeds that nothing is trained on
KINDS = (
    "hard", "hard", "hard", "quick", "letterbox", "flash", "strobe", "whip", "dissolve", "fade",
    "mixed", "mixed",
)  # fmt: skip
Pictures = npt.NDArray[np.uint8]  # [T, H, W, 3]
Detector = Callable[[Pictures], Sequence[int]]


@dataclass(frozen=True)
class Cut:
    """A cut of a film, anywhere between two frames: one and the same where it is hard."""

    first: int
    last: int
    kind: str

    def covers(self, frame: int) -> bool:
        tolerance = 1 if self.kind == "hard" else 2
        return self.first - tolerance <= frame <= self.last + tolerance


def main() -> None:
    parser = argparse.ArgumentParser(description="Cuts found, by detector.")
    parser.add_argument("--detector", nargs="+", default=["ours", "scdet"], choices=DETECTORS)
    parser.add_argument("--films", type=int, default=48)
    parser.add_argument("--takes", type=int, default=CLIPS, help="how many clips as single takes")
    parser.add_argument("--video", type=Path, help="a video to time, such as one of 1920x1080")
    parser.add_argument("--keep", type=Path, help="keep the drawn clips in this .npz")
    arguments = parser.parse_args()
    if arguments.video is not None:
        started = time.process_time()
        film = find_shots(RunRequest(arguments.video, ()))
        seconds, frames = time.process_time() - started, len(film.timeline.times)
        print(
            f"{frames} frames, {len(film.shots)} shots, {1000 * seconds / frames:.2f} CPU-ms each"
        )
        return
    clips = drawn_clips(arguments.keep)
    films = [made_film(KINDS[seed % len(KINDS)], seed, clips) for seed in range(arguments.films)]
    frames, takes = sum(len(pictures) for _, pictures, _ in films), clips[: arguments.takes]
    print(
        f"{len(films)} films, {frames} frames; {len(takes)} single takes, "
        f"{len(takes) * LENGTH} frames"
    )
    for name in arguments.detector:
        report(name, DETECTORS[name](), films, takes)


def report(
    name: str,
    detect: Detector,
    films: Sequence[tuple[str, Pictures, list[Cut]]],
    takes: Sequence[Pictures],
) -> None:
    """Print how a detector did."""
    found, there, false = Counter[str](), Counter[str](), Counter[str]()
    started = time.process_time()
    answers = [detect(pictures) for _, pictures, _ in films]
    seconds = time.process_time() - started
    for (kind, _, cuts), frames in zip(films, answers, strict=True):
        there.update(cut.kind for cut in cuts)
        found.update(cut.kind for cut in cuts if any(map(cut.covers, frames)))
        false[kind] += sum(not any(cut.covers(frame) for cut in cuts) for frame in frames)
    wrong = false.total()
    takes_wrong = sum(len(detect(take)) for take in takes)
    count = sum(len(pictures) for _, pictures, _ in films)
    kinds = ", ".join(f"{kind} {found[kind]}/{total}" for kind, total in there.items())
    where = ", ".join(f"{kind} {number}" for kind, number in false.items() if number)
    print(
        f"{name:9} {kinds}; false {wrong} ({where}); "
        f"F1 of hard cuts {_f1(found['hard'], there['hard'], wrong):.3f}, of all "
        f"{_f1(found.total(), there.total(), wrong):.3f}; single takes {takes_wrong} false; "
        f"{1000 * seconds / count:.2f} CPU-ms a frame"
    )


def _f1(found: int, there: int, false: int) -> float:
    return 2 * found / (found + there + false)


def drawn_clips(keep: Path | None) -> list[Pictures]:
    """Single takes of our generator, drawn once if they are kept."""
    if keep is not None and keep.exists():
        return list(np.load(keep)["clips"])
    seeds = range(FIRST_SEED, FIRST_SEED + CLIPS)
    clips = [draw_clip(seed, LENGTH, SIZE.height, SIZE.width).rgb.numpy() for seed in seeds]
    if keep is not None:
        np.savez(keep, clips=np.stack(clips))
    return clips


def made_film(kind: str, seed: int, clips: Sequence[Pictures]) -> tuple[str, Pictures, list[Cut]]:
    """A film of a kind from parts of clips: kind, pictures, cuts."""
    rng = np.random.default_rng(seed)
    whole: list[npt.NDArray[np.floating]] = []
    cuts: list[Cut] = []
    plain = 0  # frames of the shot before that no transition has changed
    for number in range(int(rng.integers(5, 9))):
        shot = _shot(kind, rng, clips)
        joint = _joint(kind, rng) if number else "none"
        room = min(len(shot), plain) - 2
        if joint == "dissolve" and room >= 8:
            frames = int(rng.integers(8, min(24, room) + 1))
            cuts.append(_dissolve(whole, shot, frames))
            plain = len(shot) - frames
        elif joint == "fade" and room >= 5:
            frames = int(rng.integers(5, min(12, room) + 1))
            cuts.append(_fade(whole, shot, frames, int(rng.integers(0, 4))))
            plain = len(shot) - frames
        else:
            if number:
                cuts.append(Cut(len(whole), len(whole), "hard"))
            whole += list(shot)
            plain = len(shot)
    return kind, np.stack(whole).clip(0, 255).astype(np.uint8), cuts


def _joint(kind: str, rng: np.random.Generator) -> str:
    if kind == "mixed":
        return str(rng.choice(["hard", "hard", "hard", "dissolve", "fade"]))
    return kind if kind in ("dissolve", "fade") else "hard"


def _shot(
    kind: str, rng: np.random.Generator, clips: Sequence[Pictures]
) -> npt.NDArray[np.floating]:
    """A part of a clip, perhaps mirrored or backwards, with what the film's kind does to it."""
    clip = clips[int(rng.integers(len(clips)))]
    length = 12 if kind == "quick" else int(rng.integers(14, LENGTH))
    start = int(rng.integers(len(clip) - length + 1))
    shot = clip[start : start + length].astype(np.float32)
    shot = shot[::-1] if rng.random() < 0.3 else shot
    shot = (shot[:, :, ::-1] if rng.random() < 0.5 else shot).copy()
    odds = {"mixed": 0.25, kind: 0.8}
    if rng.random() < odds.get("flash", 0) or (kind == "mixed" and rng.random() < odds["mixed"]):
        at, frames = int(rng.integers(3, len(shot) - 4)), int(rng.integers(1, 4))
        shot[at : at + frames] = shot[at : at + frames] * 0.3 + 200
    if rng.random() < odds.get("strobe", 0):
        for at in range(len(shot)):
            if at // 2 % 2:
                shot[at] = shot[at] * 1.6 + 70
    if rng.random() < odds.get("whip", 0) or (kind == "mixed" and rng.random() < odds["mixed"]):
        _whip(shot, rng)
    if kind == "letterbox":
        shot[:, :10] = shot[:, -10:] = 0
    return shot


def _whip(shot: npt.NDArray[np.floating], rng: np.random.Generator) -> None:
    """Let the camera swing round, with motion blur, and stay there."""
    frames = 8
    start, width, shift = int(rng.integers(1, len(shot) - frames)), shot.shape[2], 0
    for at in range(start, len(shot)):
        wide = np.concatenate([shot[at], shot[at][:, ::-1], shot[at]], 1)
        speed = 0
        if at < start + frames:
            speed = int(10 + 28 * np.sin(np.pi * (at - start + 0.5) / frames))
        blurred = [np.roll(wide, -(shift + speed * part // 6), 1)[:, :width] for part in range(6)]
        shot[at] = np.mean(blurred, axis=0)
        shift += speed


def _dissolve(
    whole: list[npt.NDArray[np.floating]], shot: npt.NDArray[np.floating], frames: int
) -> Cut:
    """Mix the film's last frames with the shot's first, and go on with the shot."""
    share = (np.arange(1, frames + 1) / (frames + 1))[:, None, None, None]
    cut = Cut(len(whole) - frames, len(whole), "dissolve")
    whole[-frames:] = list(np.stack(whole[-frames:]) * (1 - share) + shot[:frames] * share)
    whole += list(shot[frames:])
    return cut


def _fade(
    whole: list[npt.NDArray[np.floating]],
    shot: npt.NDArray[np.floating],
    frames: int,
    black: int,
) -> Cut:
    """Let the film go to black, stay there, and the shot come out of it."""
    level = (np.arange(frames)[::-1] / frames)[:, None, None, None]
    cut = Cut(len(whole) - frames // 2, len(whole) + black + frames // 2, "fade")
    whole[-frames:] = list(np.stack(whole[-frames:]) * level)
    shot[:frames] *= level[::-1]
    whole += [np.zeros_like(shot[0])] * black
    whole += list(shot)
    return cut


def _ours() -> Detector:
    small = picture_size(SIZE)
    factor = SIZE.height // small.height

    def detect(pictures: Pictures) -> Sequence[int]:
        shape = (small.height, factor, small.width, factor, 3)
        return find_cuts(
            picture.reshape(shape).mean((1, 3)).astype(np.uint8) for picture in pictures
        )

    return detect


def _scdet() -> Detector:
    import av
    import av.filter

    def detect(pictures: Pictures) -> Sequence[int]:
        graph = av.filter.Graph()
        source = graph.add_buffer(width=SIZE.width, height=SIZE.height, format="rgb24", time_base=1)
        scdet, sink = graph.add("scdet", "t=10"), graph.add("buffersink")
        source.link_to(scdet)
        scdet.link_to(sink)
        graph.configure()
        cuts = []
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number
            graph.push(frame)
            if "lavfi.scd.time" in graph.pull().metadata:
                cuts.append(number)
        return cuts

    return detect


def _adaptive() -> Detector:
    from scenedetect import AdaptiveDetector, FrameTimecode

    def detect(pictures: Pictures) -> Sequence[int]:
        detector = AdaptiveDetector(min_scene_len=3)
        cuts = []
        for number, picture in enumerate(pictures):
            bgr = np.ascontiguousarray(picture[..., ::-1])
            cuts += detector.process_frame(FrameTimecode(number, 24.0), bgr)
        return [getattr(cut, "frame_num", cut) for cut in cuts]

    return detect


def _transnet() -> Detector:
    import torch
    import torch.nn.functional as F

    from depthcrafter_cli.models import transnet

    def detect(pictures: Pictures) -> Sequence[int]:
        whole = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
        size = transnet.SIZE.height, transnet.SIZE.width
        small = F.interpolate(whole, size, mode="bilinear", antialias=True).round()
        return transnet.find_cuts(small.to(torch.uint8).permute(0, 2, 3, 1).numpy())

    return detect


DETECTORS: dict[str, Callable[[], Detector]] = {
    "ours": _ours,
    "scdet": _scdet,
    "adaptive": _adaptive,
    "transnet": _transnet,
}


if __name__ == "__main__":
    main()
