"""Every array the reference program produced, reproduced by our pipeline, stage by stage."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import parity
import pytest

FOLDER = Path(__file__).parents[1] / "data" / "parity"
CASES = sorted(path.stem for path in FOLDER.glob("*.npz"))

check = lru_cache(parity.check)


@pytest.mark.parametrize("case", CASES)
def test_every_array_of_the_published_program_is_reproduced(case: str):
    found = check(FOLDER / f"{case}.npz")
    assert found
    failed = [f"{item.array}: {item.error:.2e} > {item.limit:.0e}" for item in found if not item.ok]
    assert not failed, "\n".join(failed)


def test_the_pipeline_cases_check_every_array_they_hold():
    path = FOLDER / "o2_multi_T25_w10_o4.npz"
    with np.load(path, allow_pickle=False) as archive:
        held = set(archive.files)
        meta = json.loads(archive["meta_json"].item())
    assert meta["overlap"] == 4
    inputs = {"meta_json", "frames_u8", "decoded_idx", "added_time_ids"}
    assert {item.array for item in check(path)} == held - inputs


def test_a_wrong_array_fails(tmp_path: Path):
    with np.load(FOLDER / "scheduler.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["toy_out_5"] = arrays["toy_out_5"] + 1e-3
    np.savez(tmp_path / "scheduler.npz", **arrays)
    assert any(not item.ok for item in parity.check(tmp_path / "scheduler.npz"))
