"""``depthcrafter run``: read the options, show the plan, run it, say where the files are."""

from typing import TYPE_CHECKING

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.console import QuietConsole, reported

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.request import RunRequest


def run(
    source: opt.Source,
    out: opt.Outputs,
    weights: opt.Weights = None,
    max_res: opt.MaxRes = None,
    size: opt.Size = "source",
    start: opt.Start = None,
    end: opt.End = None,
    max_frames: opt.MaxFrames = None,
    fps: opt.Fps = None,
    sequence_rate: opt.SequenceRate = "24",
    normalize: opt.Normalize = "clip",
    colormap: opt.Colormap = "inferno",
    side_by_side: opt.SideBySide = False,
    crf: opt.Crf = 18,
    overwrite: opt.Overwrite = False,
    record: opt.Record = True,
    window: opt.Window = None,
    overlap: opt.Overlap = None,
    steps: opt.Steps = None,
    guidance: opt.Guidance = None,
    noise_aug: opt.NoiseAug = None,
    decode_chunk: opt.DecodeChunk = None,
    encode_batch: opt.EncodeBatch = None,
    seed: opt.Seed = None,
    reference: opt.Reference = False,
    max_vram: opt.MaxVram = "auto",
    max_ram: opt.MaxRam = "auto",
    work_dir: opt.WorkDir = None,
    keep_work: opt.KeepWork = False,
    resume: opt.Resume = False,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    quiet: opt.Quiet = False,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """Turn a video into depth: disparity, larger is nearer.

    \b
    Examples:
      depthcrafter run clip.mp4 --out depth.mp4
      depthcrafter run clip.mp4 --out depth.npz --out frames/ --size model
      depthcrafter run clip.mp4 --out depth.mp4 --max-vram 8
      depthcrafter run clip.mp4 --out both.mp4 --side-by-side --colormap gray
      depthcrafter run film.mp4 --out depth.mp4 --resume
      depthcrafter run clip.mp4 --out depth.mp4 --start 1:05 --end 1:20 --fps 12
    """
    with reported(quiet=quiet, json=json, debug=debug) as console:
        from depthcrafter_cli.depth.normalize import Normalization
        from depthcrafter_cli.media.selection import ReadOptions
        from depthcrafter_cli.workflows.request import RunRequest

        mode, limits = opt.parse_normalize(normalize)
        settings = {
            "window": window, "overlap": overlap, "steps": steps, "guidance": guidance,
            "noise_aug": noise_aug, "decode_chunk": decode_chunk, "encode_batch": encode_batch,
            "seed": seed,
        }  # fmt: skip
        reading = ReadOptions(
            start=opt.parse_time(start, "--start"),
            end=opt.parse_time(end, "--end"),
            max_frames=max_frames,
            fps=None if fps is None else opt.parse_rate(fps, "--fps"),
            sequence_rate=opt.parse_rate(sequence_rate, "--sequence-rate"),
        )
        request = RunRequest(
            source=source, outputs=tuple(out), weights=weights, device=device, dtype=dtype,
            reading=reading, max_res=max_res, size=size, colormap=colormap, crf=crf,
            normalization=Normalization(mode, *limits),  # type: ignore[arg-type]
            side_by_side=side_by_side, overwrite=overwrite, record=record, reference=reference,
            max_vram=opt.parse_gigabytes("--max-vram", max_vram),
            max_ram=opt.parse_gigabytes("--max-ram", max_ram),
            work_dir=work_dir, keep_work=keep_work, resume=resume,
            settings={name: value for name, value in settings.items() if value is not None},
        )  # fmt: skip
        carry_out(request, console)


def carry_out(request: "RunRequest", console: QuietConsole) -> None:
    """Plan a request, say so, run it, and say what came of it."""
    from depthcrafter_cli.workflows.plan import plan_run
    from depthcrafter_cli.workflows.record import is_complete

    if request.resume and request.outputs and is_complete(request):
        console.already_done(request.outputs)
        return
    plan = plan_run(request)
    console.planned(plan)
    with console.watching() as observer:
        from depthcrafter_cli.workflows import run as workflow

        result = workflow.run(plan, observer, console.warn)
    console.finished(result)
