"""Results laid out for other programs, read as those programs read them."""

import shlex
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import OpenEXR
import pytest
import yaml
from clips import ffmpeg, picture, shown_by_ffmpeg
from colmap import colmap_model
from PIL import Image

from depthcrafter_cli import workflows
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.types import Size

RATE, FRAMES, SIZE = "24000/1001", 6, Size(64, 96)
NEAR = np.linspace(0, 1, SIZE.height)[:, None].repeat(SIZE.width, 1)  # trivial-gradient, 0 to 1


@pytest.fixture
def film(tmp_path) -> Path:
    """Six frames with sound and a timecode, called ``my film.mov``."""
    path = tmp_path / "my film.mov"
    ffmpeg("-f", "lavfi", "-i", f"testsrc=s={SIZE}:r={RATE}:d=0.2502", "-f", "lavfi", "-i",
           "sine=d=0.25", "-timecode", "01:00:00:00", "-c:v", "libx264", "-c:a", "aac",
           path)  # fmt: skip
    return path


@pytest.fixture
def plates(tmp_path) -> Path:
    """Frames 1001 to 1006 as ``plates/sh010.1001.png``."""
    folder = tmp_path / "plates"
    folder.mkdir()
    for index in range(FRAMES):
        Image.fromarray(picture(index, SIZE)).save(folder / f"sh010.{1001 + index}.png")
    return folder


def hand_off(cli, consumer, source, out, *options):
    asked = ("--for", consumer, "--method", "trivial-gradient", *options)
    done = cli("run", source, "--out", out, *asked)
    assert done.code == 0 and "changes nothing" not in done.err, done.err
    return done


def gray(path, samples="gray16le"):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo",
               "-vf", "scale=out_range=full", "-pix_fmt", samples, "-"]  # fmt: skip
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, "<u2").reshape(-1, SIZE.height, SIZE.width) / 65535


def test_stereocrafter_finds_ten_bits_of_luma_beside_the_film(cli, film, tmp_path):
    hand_off(cli, "stereocrafter", film, tmp_path)
    depth = film.with_name(f"{film.stem}_depth.mp4")
    with av.open(str(depth)) as container, av.open(str(film)) as source:
        stream = container.streams.video[0]
        pixels = stream.codec_context.pix_fmt
        assert any(mark in pixels for mark in ("p10", "gray10", "gray12", "gray16"))
        luma = [np.frombuffer(frame.planes[0], "<u2").reshape(SIZE.height, -1)[:, : SIZE.width]
                for frame in container.decode(video=0)]  # fmt: skip
        assert len(luma) == source.streams.video[0].frames == FRAMES
        assert stream.average_rate == source.streams.video[0].average_rate == Fraction(RATE)
    assert np.abs(luma[0] / 1023 - NEAR).max() < 0.01  # near is white, no expansion of its range


def test_iw3_imports_pictures_depth_and_sound(cli, film, tmp_path):
    hand_off(cli, "iw3", film, tmp_path / "out")
    folder = tmp_path / "out" / "my film"
    config = yaml.safe_load((folder / "iw3_export.yml").read_text())
    assert config["type"] == "video" and config["basename"] == "my film"
    assert Fraction(config["fps"]) == Fraction(RATE)
    assert config["mapper"] == "none" and config["skip_mapper"] and config["skip_edge_dilation"]
    pictures = sorted((folder / config["rgb_dir"]).iterdir())
    depths = sorted((folder / config["depth_dir"]).iterdir())
    assert [file.stem for file in pictures] == [file.stem for file in depths]
    assert [file.stem for file in depths] == [f"{number:08d}" for number in range(FRAMES)]
    with Image.open(depths[0]) as image:
        low, high = (float(image.text[f"iw3_{end}_depth_value"]) for end in ("min", "max"))
        levels = np.asarray(image, dtype=np.float64)
    assert levels.max() == 65535  # 16 bits, whose mode is another one for each Pillow
    assert low < high and np.abs(levels / 65535 - NEAR).max() < 0.001
    shown = av.open(str(film))
    for file, frame in zip(pictures, shown.decode(video=0), strict=True):
        stored = np.asarray(Image.open(file).convert("RGB"), dtype=int)
        assert np.abs(stored - frame.to_ndarray(format="rgb24")).mean() < 3
    shown.close()
    with av.open(str(folder / config["audio_file"])) as sound:
        heard = sum(frame.samples for frame in sound.decode(audio=0)) / 44100
    assert 0.2 < heard < 0.3


def test_sound_that_iw3_cannot_get_is_told(cli, tmp_path):
    source = tmp_path / "a.mov"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=0.1", "-f", "lavfi", "-i", "sine=d=0.1",
           "-c:a", "pcm_s16le", source)  # fmt: skip
    done = hand_off(cli, "iw3", source, tmp_path / "out")
    assert "without the sound of" in done.err and "convert it to AAC" in done.err
    assert "audio_file" not in (tmp_path / "out" / "a" / "iw3_export.yml").read_text()


def test_iw3_has_no_sound_to_find_where_there_is_none(cli, plates, tmp_path):
    hand_off(cli, "iw3", plates / "sh010.####.png", tmp_path / "out")
    folder = tmp_path / "out" / "sh010"
    assert "audio_file" not in yaml.safe_load((folder / "iw3_export.yml").read_text())
    assert len(list((folder / "rgb").iterdir())) == FRAMES


def test_a_trainer_of_splats_finds_depth_under_the_names_of_its_images(cli, plates, tmp_path):
    hand_off(cli, "3dgs", plates, tmp_path / "scene")
    for image in plates.iterdir():
        depth = np.asarray(Image.open(tmp_path / "scene" / "depths" / f"{image.stem}.png"))
        assert depth.max() == 65535
        assert np.abs(depth.astype(np.float32) / 2**16 - NEAR).max() < 0.001
    refused = cli("run", plates / "sh010.1001.png", "--out", tmp_path / "b", "--for", "3dgs")
    assert refused.code == 3 and "COLMAP" in refused.err


def test_nuke_reads_raw_depth_in_z_under_the_plates_numbers(cli, plates, tmp_path):
    hand_off(cli, "nuke", plates, tmp_path / "out")
    for number in range(1001, 1001 + FRAMES):
        file = tmp_path / "out" / "plates_depth" / f"plates_depth.{number}.exr"
        with OpenEXR.File(str(file)) as image:
            (channel,) = image.channels().values()
            assert channel.name == "Z" and channel.pixels.dtype == np.float32
            assert channel.pixels[-1, 0] > channel.pixels[0, 0]  # its math is 1/z
    assert len(list((tmp_path / "out" / "plates_depth").iterdir())) == FRAMES


def test_blender_reads_normalised_depth_in_y(cli, plates, tmp_path):
    hand_off(cli, "blender", plates, tmp_path / "out")
    with OpenEXR.File(str(tmp_path / "out/plates_depth/plates_depth_1001.exr")) as image:
        assert np.abs(image.channels()["Y"].pixels - NEAR).max() < 1e-6


def test_resolve_reads_prores_with_sound_and_timecode(cli, film, tmp_path):
    hand_off(cli, "resolve", film, tmp_path / "out")
    depth = tmp_path / "out" / "my film_depth.mov"
    with av.open(str(depth)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec_tag == "ap4h" and container.streams.audio
        assert stream.metadata["timecode"] == "01:00:00:00"
    assert np.abs(gray(depth)[0] - NEAR).max() < 0.01


def test_comfyui_reads_sixteen_bits_by_ffmpeg(cli, film, tmp_path):
    hand_off(cli, "comfyui", film, tmp_path / "out")
    frames = gray(tmp_path / "out" / "my film_depth.mkv")
    assert len(frames) == FRAMES and np.abs(frames[0] - NEAR).max() < 1e-5


def test_a_kept_run_is_handed_off_and_nothing_there_is_lost(cli, film, tmp_path):
    asked = ("--method", "trivial-gradient", "--keep-work")
    assert cli("run", film, "--out", tmp_path / "d.npz", *asked).code == 0
    work, out = tmp_path / "d.npz.work", tmp_path / "out"
    yml = out / "my film" / "iw3_export.yml"
    yml.parent.mkdir(parents=True)
    yml.write_text("mine")
    refused = cli("finish", work, "--out", out, "--for", "iw3")
    assert refused.code == 6 and "iw3_export.yml exists" in refused.err
    done = cli("finish", work, "--out", out, "--for", "iw3", "--overwrite")
    assert done.code == 0 and yml.read_text() != "mine", done.err
    assert (out / "my film" / "depth" / "00000005.png").is_file()
    refused = cli("finish", work, "--out", tmp_path / "b.npz", "--for", "iw3")
    assert refused.code == 2 and "expected one folder for all that it reads" in refused.err
    looks = {"normalization": "percentile", "size": "model"}
    assert workflows.finish(str(work), str(tmp_path / "b.npy"), **looks) == FRAMES
    with pytest.raises(UsageError, match="got no `outputs`"):
        workflows.finish(work, [])


def test_a_look_that_a_program_cannot_read_is_refused(cli, film, tmp_path):
    done = cli("run", film, "--out", tmp_path, "--for", "resolve", "--codec", "prores")
    assert done.code == 2 and "leave --codec out" in done.err
    done = cli("run", film, "--out", tmp_path, "--for", "photoshop")
    assert done.code == 2 and "expected one of stereocrafter, iw3" in done.err


def test_every_command_of_the_page_works(cli, film, plates, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film.rename("film.mov")
    shutil.copytree(plates, "scene/images")
    names = [f"sh010.{1001 + index}.png" for index in range(FRAMES)]
    colmap_model(Path("scene"), np.stack([1 / (0.5 * NEAR + 0.1)] * FRAMES), names)
    rows = [f"{row % FRAMES},{row},{3 * row},{10 / (1 + row)}" for row in range(20)]
    Path("points.csv").write_text("frame,x,y,depth\n" + "\n".join(rows))
    page = (Path(__file__).parents[2] / "docs" / "hand-off.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("depthcrafter ")]
    assert len(commands) >= 13
    for command in commands:
        _, name, *arguments = shlex.split(command)
        quick = ["--method", "trivial-gradient", "--overwrite"] if name == "run" else []
        done = cli(name, *arguments, *quick)
        assert done.code == 0, (command, done.err)


def test_previews_are_a_looping_picture_and_a_sheet(cli, film, tmp_path):
    out = tmp_path / "d.npz"
    asked = ("--method", "trivial-gradient", "--preview")
    done = cli("run", film, "--out", out, "--size", "640x426", *asked)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "d.npz.preview.gif") as moving:
        assert moving.n_frames >= 1 and moving.info["loop"] == 0 and moving.width == 320
    with Image.open(tmp_path / "d.npz.sheet.jpg") as sheet:
        assert sheet.size == (4 + 4 * 324, 4 + 2 * (2 * 213 + 4))


def test_depth_lies_over_its_source(cli, film, tmp_path):
    asked = ("--method", "trivial-gradient", "--colormap", "gray", "--overlay", "--crf", "4")
    assert cli("run", film, "--out", tmp_path / "d.mp4", *asked).code == 0
    over = shown_by_ffmpeg(tmp_path / "d.mp4", SIZE)
    under = shown_by_ffmpeg(film, SIZE)
    expected = (under.astype(float) + NEAR[..., None] * 255) / 2
    assert np.abs(over - expected).mean() < 5
