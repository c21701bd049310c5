"""Awkward videos and images: which frames come out, when, at which size and in which colours."""

import numpy as np
import pytest
from awkward import CASES, make, number_of, truth

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import count_frames, probe, read_frames
from depthcrafter_cli.types import Size


@pytest.mark.parametrize("name", CASES)
def test_an_awkward_video_is_read_as_it_is_meant(tmp_path, name):
    if name.endswith(".exr"):
        pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    case, told = CASES[name], []
    path = make(name, tmp_path)
    if case.refused:
        with pytest.raises(InputError) as refusal:
            list(read_frames(path, case.size))
        assert case.refused in str(refusal.value)
        return
    expected = [case.shown(truth(k, case.size)) for k in case.numbers]
    info = probe(path)
    assert info.size == Size(*expected[0].shape[:2])
    frames = list(read_frames(path, info.size, warn=told.append))
    assert [number_of(frame.rgb) for frame in frames] == list(case.numbers)
    assert [frame.time for frame in frames] == case.expected_times
    errors = [
        np.abs(frame.rgb.astype(float) - rgb).mean()
        for frame, rgb in zip(frames, expected, strict=True)
    ]
    assert max(errors) <= case.error
    assert count_frames(path) == len(frames)
    assert len(told) == bool(case.told) and case.told in "".join(told)
