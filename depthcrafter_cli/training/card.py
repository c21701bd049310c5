"""What a trained model's folder tells people: where it comes from, how good it was, its licence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from depthcrafter_cli.models.registry import ModelSpec


def model_card(
    name: str,
    start: ModelSpec,
    recipe: str,
    entries: Iterable[Mapping[str, Any]],
    of_adapter: bool = False,
) -> str:
    """A card as the Hugging Face Hub shows it, of a model trained by ``recipe``, a text in TOML.

    ``entries`` are those of the log, of which the scores on held-out clips are told. An adapter
    needs the weights that it began as to run.
    """
    kind = f"An adapter (LoRA) for {start.title}" if of_adapter else "A model"
    weights = f"{'MODEL+' * of_adapter}FOLDER"
    non_commercial = "For non-commercial use only: so are the weights that it began as.\n\n"
    licences = [f"- {each.covers}: [{each.title}]({each.url})\n" for each in start.licences]
    terms = "".join(licences) or "None is known.\n"
    rows = [
        f"| {line['stage']} | {line['step']} | {line['abs_rel']:.4f} | {line['delta1']:.4f} |\n"
        for line in entries
        if {"abs_rel", "delta1"} <= line.keys()
    ]
    head = "| stage | step | AbsRel | delta1 |\n| --- | --- | --- | --- |\n"
    scores = f"\n## Scores on held-out clips\n\n{head}{''.join(rows)}" if rows else ""
    return (
        "---\nlibrary_name: depthcrafter\npipeline_tag: depth-estimation\nlicense: other\n---\n\n"
        f"# {name}\n\n{kind} of DepthCrafter's classes (arXiv 2409.02095), trained from "
        f"{start.title}. `depthcrafter run video.mp4 --weights {weights}` runs it.\n\n"
        f"## Licence\n\n{non_commercial * start.non_commercial}{terms}"
        f"{scores}\n## Recipe\n\n```toml\n{recipe.strip()}\n```\n"
    )
