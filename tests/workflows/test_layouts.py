"""Sets as they come: pictures of another size, files of MATLAB, folders too deep, other clips."""

import json
import shutil
import struct
import zlib

import numpy as np
import pytest
import sets
from PIL import Image

from depthcrafter_cli.datasets.matlab import MatlabFile
from depthcrafter_cli.datasets.recorded import RecordedClips
from depthcrafter_cli.datasets.registry import DATASETS
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.types import Size


def test_pictures_of_scannet_are_cropped_where_their_smaller_maps_are(tmp_path):
    sets.scannet(tmp_path, 3)
    rows, columns = np.mgrid[0:128, 0:168]
    for path in tmp_path.glob("*/color/*.jpg"):
        places = np.stack([columns, rows, 0 * rows], -1).astype(np.uint8)  # twice the maps' 64x84
        Image.fromarray(places).save(path, quality=100, subsampling=0)
    (clip, _other) = DATASETS["scannet"].clips(tmp_path)
    assert clip.size == Size(96, 124) and clip.depth(1).shape == (1, 48, 62)
    (shown,) = clip.pictures_at(Size(96, 124), 1)
    assert np.abs(shown[0, 0, :2].astype(int) - (22, 16)).max() <= 3
    assert np.abs(shown[-1, -1, :2].astype(int) - (168 - 23, 128 - 17)).max() <= 3
    places = DATASETS["scannet"].places(tmp_path)
    sample = RecordedClips(places, [1] * len(places), Size(96, 124), tmp_path).read(0, range(1))
    assert np.array_equal(sample.rgb[0].numpy(), shown)


@pytest.mark.parametrize("name", sets.SETS)
def test_the_folder_that_was_meant_is_named(cli, tmp_path, name):
    sets.SETS[name](tmp_path / "unpacked" / "it", 3)
    inner = {"sintel": "training/clean", "kitti": "val", "nyuv2": "rgb"}
    clip = {"scannet": "scene0708_00", "bonn": "rgbd_bonn_crowd2"}
    inside = tmp_path / "unpacked/it" / (inner | clip)[name]
    for given in (tmp_path / "unpacked", tmp_path, inside):
        done = cli("evaluate", name, given, "--method", "trivial-gradient", "--out",
                   tmp_path / "s.json")  # fmt: skip
        assert done.code == 3 and f"may be {tmp_path / 'unpacked/it'}: name that" in done.err


def test_the_folder_that_was_meant_is_named_to_who_wants_some_clips_alone(tmp_path):
    sets.bonn(tmp_path / "it", 3)
    with pytest.raises(InputError, match=r"may be .*it: name that"):
        DATASETS["bonn"].clips(tmp_path, only=["rgbd_bonn_crowd2"])
    with pytest.raises(UsageError, match="got `only` crowd9, expected names of rgbd_bonn_crowd2"):
        DATASETS["bonn"].clips(tmp_path / "it", only=["crowd9"])


def test_what_systems_leave_beside_clips_is_no_clip(tmp_path):
    sets.sintel(tmp_path, 3)
    for left in ("__MACOSX", ".cache"):
        (tmp_path / "training/clean" / left).mkdir()
    (tmp_path / "training/clean/alley_1/._frame_0001.png").write_bytes(b"macOS")
    clips = DATASETS["sintel"].clips(tmp_path)
    assert [(clip.name, clip.frames) for clip in clips] == [("alley_1", 3), ("temple_2", 3)]


def test_of_a_whole_set_the_papers_clips_are_taken(tmp_path):
    sets.bonn(tmp_path, 1)
    whole = tmp_path / "rgbd_bonn_crowd2"
    for name in ("balloon", "balloon2", "crowd3", "person_tracking"):
        shutil.copytree(whole, tmp_path / f"rgbd_bonn_{name}")
    assert len(DATASETS["bonn"].clips(tmp_path)) == 5
    shutil.copytree(whole, tmp_path / "rgbd_bonn_synchronous")
    named = [clip.name.removeprefix("rgbd_bonn_") for clip in DATASETS["bonn"].clips(tmp_path)]
    assert named == ["balloon2", "crowd2", "crowd3", "person_tracking", "synchronous"]


def test_raw_drives_of_kitti_may_lie_in_a_folder_of_their_own(tmp_path):
    sets.kitti(tmp_path, 2)
    (tmp_path / "raw").mkdir()
    (tmp_path / "2011_09_26").rename(tmp_path / "raw/2011_09_26")
    (clip,) = DATASETS["kitti"].clips(tmp_path)
    assert clip.frames == 2 and clip.pictures_at(Size(50, 80), 2).shape == (2, 50, 80, 3)


KINDS = {"u1": (2, 9), "u2": (4, 11), "i4": (5, 12), "f4": (7, 7), "f8": (9, 6)}  # stored, class


def mat5(*arrays: tuple[str, np.ndarray], compressed: bool = True, order: str = "<") -> bytes:
    """A file of MATLAB's version 5, as its documentation has it."""

    def element(kind: int, content: bytes) -> bytes:
        if len(content) <= 4:
            return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")
        return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)

    written = b"MATLAB 5.0 MAT-file".ljust(124)
    written += struct.pack(f"{order}H", 256) + (b"IM" if order == "<" else b"MI")
    for name, array in arrays:
        stored, kind = KINDS[array.dtype.str[1:]]
        parts = element(6, struct.pack(f"{order}II", kind, 0))
        parts += element(5, np.array(array.shape, f"{order}i4").tobytes())
        parts += element(1, name.encode())
        content = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
        whole = element(14, parts + element(stored, content))
        if compressed:
            packed = zlib.compress(whole)
            whole = struct.pack(f"{order}II", 15, len(packed)) + packed
        written += whole
    return written


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_of_matlab_keep_their_axes_and_types(tmp_path, compressed, order):
    rng = np.random.default_rng(0)
    arrays = [
        ("words", rng.integers(0, 255, (3, 5, 3, 2)).astype("u1")),
        ("x", rng.normal(size=(4, 5, 2)).astype("f4")),
        ("numbers", np.arange(3, dtype="f8")[:, None]),
        ("one", np.array([[7]], "u2")),
    ]
    path = tmp_path / "a.mat"
    path.write_bytes(mat5(*arrays, compressed=compressed, order=order))
    for name, array in arrays:
        assert np.array_equal(MatlabFile(path).array(name), array)
    assert np.array_equal(MatlabFile(path).array("x", 1), arrays[1][1][..., 1])
    file = MatlabFile(path)
    assert np.shares_memory(file.array("x", 0), file.array("x")), "it was unpacked once more"
    with pytest.raises(InputError, match="got no array none"):
        MatlabFile(path).array("none")
    whole = path.read_bytes()
    zeros = whole[:136] + bytes(len(whole) - 136)  # which are sound where nothing is compressed
    for damaged in (whole[:150], *[zeros] * compressed):
        broken = tmp_path / "b.mat"  # Windows writes to no file that is mapped
        broken.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            MatlabFile(broken).array("x")


def write_labelled(root, version):
    """Three labelled frames, of which the first and the last are for tests."""
    images = np.random.default_rng(0).integers(0, 255, (480, 640, 3, 3)).astype("u1")
    depths = np.stack([sets.depth_at(index, (480, 640)) for index in range(3)], -1).astype("f4")
    path = root / "nyu_depth_v2_labeled.mat"
    if version == 5:
        path.write_bytes(mat5(("images", images), ("depths", depths)))
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w", userblock_size=512) as file:
            file["images"], file["depths"] = images.T, depths.T
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file")
    splits = mat5(("trainNdxs", np.array([[2]], "f8")), ("testNdxs", np.array([[1], [3]], "f8")))
    (root / "splits.mat").write_bytes(splits)
    return images, depths


@pytest.mark.parametrize("version", [5, 7.3])
def test_labelled_frames_are_read_from_their_publishers_file(cli, tmp_path, version):
    images, depths = write_labelled(tmp_path, version)
    clips = DATASETS["nyuv2"].clips(tmp_path)
    assert [clip.name for clip in clips] == ["0001", "0003"]
    shown = clips[1].pictures_at(Size(426, 560), 1)[0]
    assert np.array_equal(shown, images[45:471, 41:601, :, 2])
    (tmp_path / "own").mkdir()
    for clip, index in zip(clips, (0, 2), strict=True):
        known = depths[45:471, 41:601, index]
        np.save(tmp_path / "own" / f"{clip.name}.npy", 0.4 / known + 0.1)
    done = cli("evaluate", "nyuv2", tmp_path, "--predictions", tmp_path / "own", "--out",
               tmp_path / "s.json")  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "s.json").read_text())["mean"]["abs_rel"] < 1e-5
    (tmp_path / "splits.mat").unlink()
    lacking = cli("evaluate", "nyuv2", tmp_path, "--method", "trivial-gradient", "--out",
                  tmp_path / "t.json")  # fmt: skip
    assert lacking.code == 3 and "got no splits.mat beside" in lacking.err


def test_pairs_of_nyuv2_may_lie_in_folders_of_scenes(tmp_path):
    home = tmp_path / "test" / "kitchen"
    home.mkdir(parents=True)
    for number in ("00002", "00013"):
        Image.new("RGB", (640, 480)).save(home / f"rgb_{number}.jpg")
        sets.levels(home / f"sync_depth_{number}.png", np.full((480, 640), int(number) / 10), 1000)
    clips = DATASETS["nyuv2"].clips(tmp_path)
    assert [clip.name for clip in clips] == ["kitchen_00002", "kitchen_00013"]
    assert clips[1].depth(1)[0, 0, 0] == pytest.approx(1.3)
    (home / "sync_depth_00002.png").unlink()
    with pytest.raises(InputError, match=r"sync_depth_00002.png or depth_00002.png beside"):
        DATASETS["nyuv2"].clips(tmp_path)
