"""Which frames are looked at to tell how two windows differ. No torch."""


def compared_frames(shared: range, chunk: int) -> tuple[int, ...]:
    """Half a chunk at each end of the frames that two windows share, or all of a few."""
    half = max(chunk // 2, 1)
    return tuple(shared if len(shared) <= 2 * half else [*shared[:half], *shared[-half:]])


def skeleton_frames(window: int, total: int) -> tuple[int, ...]:
    """As many frames as a window has, spread over a whole shot, with its first and its last."""
    count = min(window, total)
    return tuple(index * (total - 1) // max(count - 1, 1) for index in range(count))
