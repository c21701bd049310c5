"""What users of diffusers write, and what it is called here."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.progress import Observer, Progress

if TYPE_CHECKING:
    import torch

_SETTINGS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "window_size": "window",
    "decode_chunk_size": "decode_chunk",
    "noise_aug_strength": "noise_aug",
}
"""Names that users of diffusers and of the reference program know, and the settings they mean."""
INSTEAD = {
    "scheduler": "the model has one schedule, of which a call chooses the `steps`",
    "enable_model_cpu_offload": "memory is planned for each call: pass `max_vram`",
    "enable_sequential_cpu_offload": "memory is planned for each call: pass `max_vram`",
    "enable_attention_slicing": "memory is planned for each call: pass `max_vram`",
    "enable_vae_slicing": "memory is planned for each call: pass `max_vram`",
    "enable_xformers_memory_efficient_attention": "PyTorch's own attention is used: leave it out",
    "set_progress_bar_config": "a call takes an `observer`",
}
"""What takes the place of what pipelines of diffusers have and this one has not."""


def settings_of_call(
    options: Mapping[str, Any], generator: "torch.Generator | None"
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings of the method by its own names, and what was typed for these.

    Raises UsageError for one that is given twice.
    """
    given = [(_SETTINGS.get(name, name), name, value) for name, value in options.items()]
    if generator is not None:
        seed = getattr(generator, "initial_seed", None)
        if seed is None:
            raise UsageError(
                f"got a `generator` of type {type(generator).__name__}, expected one "
                "torch.Generator: pass one, or `seed`."
            )
        given.append(("seed", "generator", seed() % 2**63))
    settings: dict[str, Any] = {}
    typed: dict[str, str] = {}
    for field, name, value in given:
        if value is None:
            continue
        if field in settings:
            raise UsageError(
                f"got `{typed[field]}` and `{name}`, which mean the same, expected one of them: "
                "leave one out."
            )
        settings[field], typed[field] = value, name
    return settings, typed


def as_called(sentence: str, typed: Mapping[str, str]) -> str:
    """A sentence with the arguments that were typed in place of the settings they mean."""
    for field, name in typed.items():
        sentence = sentence.replace(f"`{field}`", f"`{name}`")
    return sentence


def place_of(name: "str | os.PathLike[str]") -> str:
    """A name or path as text. Raises UsageError for anything else, such as a loaded network."""
    try:
        return os.fsdecode(name)
    except TypeError:
        raise UsageError(
            f"got a {type(name).__name__} as a model, expected a name, a folder or a repository of "
            "the hub: pass where it was loaded from."
        ) from None


def precision_of(dtype: "str | torch.dtype") -> str:
    """A precision by the name that ``--dtype`` gives it."""
    name = str(dtype).removeprefix("torch.")
    return {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}.get(name, name)


def after_each_step(
    call: Callable[[int, float, dict[str, Any]], object], steps: int, observer: Observer
) -> Observer:
    """An observer that also makes a call after each denoising step, of ``steps`` for each window.

    It is called with the number of the step over all windows, its timestep and an empty dictionary.
    """
    from depthcrafter_cli.pipeline.schedule import karras_schedule

    timesteps = karras_schedule(steps).timesteps
    done = 0

    def observe(event: Progress) -> None:
        nonlocal done
        observer(event)
        if event.stage == "denoise" and event.done > done:
            done = event.done
            call(done - 1, timesteps[(done - 1) % steps], {})

    return observe
