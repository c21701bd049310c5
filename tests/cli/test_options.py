"""An option stands beside the field that acts on it; everything else is made of that."""

import json
import pickle
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import typer
from clips import make_clip

from depthcrafter_cli import disk, workflows
from depthcrafter_cli.cli.options import NAMES, Some, as_typed, flag_of, spread
from depthcrafter_cli.cli.streams import standard_output
from depthcrafter_cli.depth.normalize import Normalization
from depthcrafter_cli.errors import InputError, OutputError, UsageError, WeightsError
from depthcrafter_cli.media.files import output_errors, read_errors
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.models.layout import reading_weights
from depthcrafter_cli.options import (
    build,
    documented,
    option,
    options_of,
    replaced,
    settings_of,
    settle_options,
)
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.workflows.batches.options import BatchOptions
from depthcrafter_cli.workflows.request import COLUMNS, RunRequest
from depthcrafter_cli.workflows.training_request import TrainingRequest

ROOT = Path(__file__).parents[2]
ELSEWHERE = pytest.mark.skipif(disk.WINDOWS, reason="there any name is taken for a user's")
OF = {
    "depth": "`run`, `batch`, CSV, `plan`",
    "memory": "`run`, `batch`, CSV, `plan`",
    "look": "`run`, `batch`, CSV, `finish`",
    "writing": "`run`, `batch`, `finish`",
    "files": "`run`, `finish`",
    "metric": "`finish`",
    "run": "`run`",
}
OPTIONS = options_of(RunRequest)
# A value that is not the default, as it is typed, for each option of another kind than a flag.
TYPED = {
    "size": "model", "normalization": "percentile 2 98", "range_of": "film",
    "cuts": "none", "colormap": "gray", "crf": "20",
    "codec": "prores", "audio": "none",
    "upsample": "edges", "pix_fmt": "gray10le", "encoder_option": "preset=slow",
    "exr_channel": "depth.Z", "consumer": "nuke", "metric": "a.json", "fov": "60",
    "ply_frames": "0,24",
    "start_number": "7", "method": "trivial-mean", "weights": "nano", "max_res": "320",
    "start": "1:05", "end": "1:20.5", "max_frames": "5", "fps": "23.976", "stream": "1",
    "frames": "7-9", "gaps": "hold", "sequence_rate": "25",
    "matrix": "bt709", "tonemap": "none", "exposure": "1.5", "steps": "2", "guidance": "1.2",
    "window": "40", "overlap": "4", "noise_aug": "0.05", "decode_chunk": "4", "encode_batch": "2",
    "seed": "7", "align": "windows",
    "max_vram": "8GB", "max_ram": "8000MB", "dtype": "fp32", "device": "cpu",
    "work_dir": "state",
}  # fmt: skip


def command_with(kind: type, *parts: str, **groups: Any) -> tuple[typer.Typer, list[Any]]:
    """A command with some options of a dataclass, and the list of what it was called with."""
    app, called = typer.Typer(), []

    @spread
    def command(asked: Annotated[dict[str, Any], Some(kind, *parts)]) -> None:
        called.append(build(kind, asked, **groups))

    app.command()(command)
    return app, called


def test_every_option_of_run_reaches_the_object_that_acts(tmp_path):
    app, called = command_with(RunRequest, *OF, video=tmp_path / "a", outputs=())
    typed = {**TYPED, **{name: None for name, each in OPTIONS.items() if each.kind is bool}}
    assert set(typed) == set(OPTIONS)
    for name, text in typed.items():
        flag = flag_of(OPTIONS[name])
        switch = f"--no-{flag[2:]}" if OPTIONS[name].default else flag
        arguments = [flag, text] if text else [switch]
        app(arguments, standalone_mode=False)
        request, owner = called[-1], OPTIONS[name].owner
        if owner == "settings":
            assert request.settings == {name: OPTIONS[name].value_of(text)}
            PipelineConfig(**request.settings)
        else:
            acting = getattr(request, owner) if owner else request
            assert getattr(acting, name) != OPTIONS[name].default, name


BATCH = {
    "formats": "npz", "retries": "0", "report": "a.csv", "shard": "2/8", "work_dir": "states",
    "devices": "cpu", "engine": "local", "ray_address": "auto",
}  # fmt: skip
TRAINING = {"work_dir": "states", "time_limit": "1:30:00", "export": "1.best.ckpt"}


@pytest.mark.parametrize(
    ("kind", "typed", "groups"),
    [
        (BatchOptions, BATCH, {}),
        (TrainingRequest, TRAINING, {"recipe": Path("a.toml"), "out": Path("a")}),
    ],
)
def test_every_option_of_a_batch_and_of_training_reaches_the_object_that_acts(kind, typed, groups):
    app, called = command_with(kind, **groups)
    options = options_of(kind)
    assert {*typed} == {name for name, each in options.items() if each.kind is not bool}
    for name, each in options.items():
        app([flag_of(each), *([typed[name]] if name in typed else [])], standalone_mode=False)
        acting = getattr(called[-1], each.owner) if each.owner else called[-1]
        assert getattr(acting, name) != each.default, name


def test_what_a_batch_is_given_twice_is_done_once_and_a_part_that_is_none_refused():
    app, called = command_with(BatchOptions)
    app(["--format", "npz", "-f", "mp4", "-f", "npz"], standalone_mode=False)
    assert called[-1].formats == ("npz", "mp4")
    for empty in ("", " "):
        with pytest.raises(UsageError, match=f"got `formats` '{empty}', expected names of formats"):
            app(["--format", empty], standalone_mode=False)
    for wrong in ("0/3", "4/3", "2", "a/b"):
        with pytest.raises(UsageError, match=f"got `shard` '{wrong}', expected a part"):
            BatchOptions(shard=wrong)


def test_every_column_of_a_list_means_what_the_option_does():
    for column, name in COLUMNS.items():
        text = "yes" if OPTIONS[name].kind is bool else TYPED[name]
        listed = build(RunRequest, {name: text}, video=Path("a"), outputs=())
        assert listed != RunRequest(Path("a"), ())
        assert f"--{column.replace('_', '-')}" == NAMES[name]


def test_settings_of_the_model_are_checked_before_there_is_one():
    with pytest.raises(UsageError, match="got `steps` 0, expected at least 1"):
        build(RunRequest, {"steps": 0}, video=Path("a"), outputs=())


def test_a_field_added_to_an_object_that_acts_is_an_option_everywhere():
    @dataclass(frozen=True)
    class Grainy(RunRequest):
        grain: float = option(0.5, help="Grain. Default: {default}.", part="look", minimum=0)

    app, called = command_with(Grainy, "look", video=Path("a"), outputs=())
    app(["--grain", "0.25"], standalone_mode=False)
    assert called[-1].grain == 0.25
    assert options_of(Grainy)["grain"].help == "Grain. Default: 0.5."
    assert build(Grainy, {"grain": "0.75"}, video=Path("a"), outputs=()).grain == 0.75
    with pytest.raises(UsageError, match="got `grain` -1, expected at least 0: correct it"):
        app(["--grain", "-1"], standalone_mode=False)


def test_a_flag_of_the_settings_is_one_of_them_only_where_it_is_given():
    @dataclass(frozen=True)
    class Settings:
        flip: bool = option(False, help="Flip.", part="depth")
        steps: int | None = option(None, help="Steps.", part="depth")

    @dataclass(frozen=True)
    class Asked:
        settings: dict[str, Any] = settings_of(Settings)

    app, called = command_with(Asked, "depth")
    for arguments, expected in [([], {}), (["--flip", "--steps", "5"], {"flip": True, "steps": 5})]:
        app(arguments, standalone_mode=False)
        assert called[-1].settings == expected


def test_an_option_that_no_object_has_cannot_start():
    @dataclass(frozen=True)
    class Asked(RunRequest):
        grain: float = option(0.5, help="Grain.", part="look")

    some = Some(Asked, "look").options
    with pytest.raises(TypeError, match="grain"):
        build(RunRequest, {name: each.default for name, each in some.items()}, video=Path("a"))


def test_two_options_of_one_name_are_refused_at_the_start():
    @dataclass(frozen=True)
    class Twice(RunRequest):
        seed: int = option(3, help="Another seed.", part="look")

    with pytest.raises(TypeError, match="seed twice"):
        options_of(Twice)


def test_a_range_is_checked_wherever_a_value_comes_from():
    @documented
    @dataclass(frozen=True)
    class Settings:
        """Settings."""

        count: int = option(3, help="How many.", unit="frames", minimum=1, maximum=5)
        rate: Fraction | None = option(None, help="How often.", above=0)
        kind: Literal["a", "b"] = option("a", help="Which.")
        place: Path | None = option(None, help="Where.", read=Path)
        replaces: bool = option(False, help="Replace.")

        def __post_init__(self) -> None:
            settle_options(self)

    Settings(count=5, rate=Fraction(1, 2), kind="b")
    for name, value, says in [
        ("count", 0, "got `count` 0, expected 1 to 5: correct it."),
        ("count", 2.5, "got `count` 2.5, expected a whole number: correct it."),
        ("count", "many", "got `count` 'many', expected a whole number: correct it."),
        ("rate", Fraction(0), "got `rate` 0, expected more than 0: correct it."),
        ("kind", "c", "got `kind` 'c', expected one of a, b: correct it."),
        ("kind", None, "got `kind` None, expected one of a, b: correct it."),
        ("place", 3, "got `place` 3, expected a path: correct it."),
        ("replaces", 2, "got `replaces` 2, expected yes or no: correct it."),
    ]:
        for making in (lambda n, v: Settings(**{n: v}), lambda n, v: build(Settings, {n: v})):
            with pytest.raises(UsageError) as refusal:
                making(name, value)
            assert str(refusal.value) == says
    assert "count, in frames: How many. Expected: 1 to 5." in Settings.__doc__


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--max-res", "nan"], "got --max-res 'nan', expected a whole number: correct it."),
        (["--exposure", "x"], "got --exposure 'x', expected a number: correct it."),
        (["--max-frames", "9" * 20], f"got --max-frames {'9' * 20}, expected at most 1,000,"),
        (["--start", "9" * 20], "got --start 1e+20, expected at most 1,000,000,000,000: correct"),
        (["--fps", "1e999"], "got --fps 1e+308, expected at most 1,000,000,000,000: correct it."),
        (["--guidance", "1e999"], "got --guidance inf, expected at most 1,000,000,000,000"),
    ],
)
def test_a_number_that_is_none_or_too_large_is_refused_in_our_words(cli, arguments, says):
    refused = cli("plan", "a.mp4", *arguments)
    assert refused.code == 2 and says in refused.err, refused


def test_python_may_pass_what_is_typed_and_numbers_of_numpy():
    asked = RunRequest(
        "a.mp4", "b.npz", normalization="percentile 2 98", max_res=np.int64(64), max_vram="8GB",
        square=np.True_, start_number=1001, cuts=Path("c.csv"), settings={"steps": "3"},
        reading=ReadOptions(fps=23.976, start="0:01", stream=np.int8(0)), only_shots=range(2),
    )  # fmt: skip
    assert asked == RunRequest(
        Path("a.mp4"), (Path("b.npz"),), normalization=Normalization("percentile", 2, 98),
        max_res=64, max_vram=8.0, square=True, start_number="1001", cuts="c.csv",
        settings={"steps": 3}, only_shots=(0, 1),
        reading=ReadOptions(fps=Fraction("23.976"), start=Fraction(1), stream=0),
    )  # fmt: skip
    assert json.loads(json.dumps(asked.to_json()))["normalization"]["mode"] == "percentile"


REQUEST = RunRequest("a.mp4", "b.npz")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: RunRequest(5, "b.npz"), "got `video` 5, expected a path: correct it."),
        (lambda: RunRequest("a", None), "got `outputs` None, expected a list, of which each is a"),
        (lambda: RunRequest("a", "b", reading=None), "expected a ReadOptions: correct it."),
        (lambda: RunRequest("a", "b", normalization="all"), "expected clip, percentile, "),
        (lambda: RunRequest("a", "b", range_of=np.zeros((9, 99))), "got `range_of` a ndarray, "),
        (lambda: RunRequest("a", "b", overwrite="perhaps"), "'perhaps', expected yes or no"),
        (lambda: ReadOptions(frames=range(2)), "expected numbers of frames: write 1005-1010"),
        (lambda: BatchOptions(workers="ray"), "got `workers` 'ray', expected a Workers"),
        (lambda: replaced(REQUEST, {"colourmap": "gray"}), "expected one of colormap, side_by_"),
        (lambda: workflows.run("a.mp4"), "got `asked` 'a.mp4', expected a RunRequest"),
        (lambda: workflows.plan(None), "got `request` None, expected a RunRequest"),
        (lambda: workflows.plan(REQUEST, card="none"), "got the card 'none', expected a whole"),
        (lambda: workflows.fit("d.npz"), "got `request` 'd.npz', expected a FitRequest"),
        (lambda: workflows.finish(5, "b.npz"), "got `folder` 5, expected a path"),
        (lambda: workflows.finish("a", "b.npz", None), "got `observer` None, expected a function"),
        (lambda: workflows.run(REQUEST, warn=5), "got `warn` 5, expected a function"),
        (lambda: workflows.plan(REQUEST, None), "got `warn` None, expected a function"),
        (lambda: workflows.batch([], words=5), "got `words` 5, expected a function"),
        (lambda: workflows.batch([], print), "`observer` <built-in function print>, expected a Ba"),
        (lambda: workflows.batch([REQUEST]), "expected a list, of which each is a VideoTask"),
        (lambda: workflows.find_tasks(5, "out"), "got `sources` 5, expected a list, of which"),
    ],
)
def test_what_python_passes_wrongly_is_one_sentence(tmp_path, monkeypatch, call, says):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4", frames=2)
    with pytest.raises(UsageError, match=re.escape(says)):
        call()


def test_help_names_every_choice_and_default():
    for each in OPTIONS.values():
        assert all(choice in each.help for choice in each.choices), each
        assert "{" not in each.help, each
    for kind in (RunRequest, ReadOptions, PipelineConfig):
        own = [name for name, each in options_of(kind).items() if not each.owner]
        assert all(re.search(rf"    {name}(, in [a-zA-Z ]+)?: ", kind.__doc__) for name in own)


def test_a_field_is_named_as_the_user_types_it():
    sentence = 'correct `normalization`, `gaps="hold"`, `record=False`, `resume=True` or `stepz`.'
    told = "correct --normalize, --gaps hold, --no-record, --resume or `stepz`."
    assert as_typed(sentence, NAMES) == told


def _of_run(each):
    """Whether an option of batches is one of ``run`` as well."""
    return each.owner == "workers" or each.name == "shard"


def test_every_option_of_the_table_is_that_of_a_field():
    rows = [
        f"| `{NAMES[name]}`{f', {each.unit}' * bool(each.unit)} | {OF[each.part]} | {each.help} |"
        for name, each in OPTIONS.items()
    ]
    rows += [
        f"| `{flag_of(each)}` | {'`run`, ' * _of_run(each)}`batch` | {each.help} |"
        for each in options_of(BatchOptions).values()
    ]
    told = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    lacking = [row for row in rows if row not in told]
    assert not lacking, "docs/options.md lacks:\n" + "\n".join(lacking)
    table = "\n".join(["| Option | Of | What it does |", "| --- | --- | --- |", *rows])
    assert table in told, f"docs/options.md shall hold, in this order:\n{table}"


def test_errors_are_those_of_python_that_callers_expect():
    kinds = {UsageError: ValueError, InputError: ValueError, WeightsError: OSError,
             OutputError: OSError}  # fmt: skip
    for ours, expected in kinds.items():
        with pytest.raises(expected, match=r"^what it says$") as caught:
            raise pickle.loads(pickle.dumps(ours("what it says")))
        assert caught.type is ours
    with pytest.raises(ValueError, match="got `window` 0, expected at least 1"):
        PipelineConfig(window=0)


def test_a_sentence_stays_as_it_is_where_errors_of_python_are_made_sentences(tmp_path):
    """An OSError becomes an OutputError there, and so on; one of ours is such an error as well."""
    said = [UsageError("usage"), InputError("input"), WeightsError("weights"), OutputError("out")]
    for error in said:
        for inside in (
            output_errors(tmp_path), read_errors(tmp_path), standard_output(),
            content_errors(tmp_path, UsageError, "expected JSON"),
        ):  # fmt: skip
            with pytest.raises(type(error)) as caught, inside:
                raise error
            assert caught.value is error
    with pytest.raises(WeightsError) as caught, reading_weights(tmp_path):
        raise said[2]
    assert caught.value is said[2]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "http://x.org/a.mp4", "--out", "b.mp4"], 3, "got the address"),
        pytest.param(
            ["run", "a.mp4", "--out", "~nobody-here/b.mp4"], 2, "expected a user", marks=ELSEWHERE
        ),
        (["run", "a.mp4", "--out", "--window"], 2, "expected a path after --out"),
        pytest.param(["resume", "~nobody-here/w"], 2, "expected a user", marks=ELSEWHERE),
    ],
)
def test_a_path_that_is_none_is_refused_in_our_words(cli, arguments, code, says):
    refused = cli(*arguments)
    assert refused.code == code and says in refused.err and "Invalid" not in refused.err, refused


@pytest.mark.parametrize("command", [["check"], ["report", "--out", "p.html"], ["batch", "--out"]])
def test_a_link_that_leads_to_itself_is_refused_in_our_words(cli, tmp_path, command):
    around = tmp_path / "around"
    around.symlink_to(around)
    refused = cli(*command, around, *["nothing.mp4"] * (command[0] == "batch"))
    assert refused.code == 3 and ", expected " in refused.err, refused


def test_below_the_command_line_fields_are_named_not_options():
    """Only commands to be copied have options: of pip, of Ray, of this program."""
    package, commands = ROOT / "depthcrafter_cli", ("pip ", "ray start", "`depthcrafter ")
    for path in package.rglob("*.py"):
        if path.is_relative_to(package / "cli"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            option = re.search(r"(?<![-\w`])--[a-z][a-z-]+", line)
            known = ("--help", "--index-url", "--keep-work` first", "--force-reinstall")
            told = any(word in line for word in (*commands, *known))
            assert option is None or told, f"{path.name}: {line.strip()}"
