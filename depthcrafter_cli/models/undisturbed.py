"""PyTorch as it is by itself, whatever a caller in Python has set around a call."""

import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import ParamSpec, TypeVar

import torch

_KINDS = ("cpu", "cuda", "mps", "xpu")  # of devices
Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")


@contextmanager
def undisturbed(*, inference: bool = True) -> Iterator[None]:
    """Inside, tensors are made on the CPU where nothing is said, and autocast is off.

    Autocast would compute in another precision than the one that was chosen, and a default device
    would hold what is to be on the CPU. ``inference`` notes no gradients; without it tensors can
    be changed afterwards, even if the caller is in inference mode.
    """
    with ExitStack() as settings:
        settings.enter_context(torch.inference_mode(inference))
        for kind in _KINDS:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        # PyTorch 2.4 knows the default device only where `set_default_device` has set it.
        if torch.empty(0).device.type != "cpu":
            settings.enter_context(torch.device("cpu"))
        yield


def undisturbed_steps(
    function: Callable[Arguments, Generator[Item, None, None]],
) -> Callable[Arguments, Iterator[Item]]:
    """A generator function of which each step is :func:`undisturbed`, and its caller is not."""

    @functools.wraps(function)
    def steps(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Item]:
        with closing(function(*args, **kwargs)) as items:
            while True:
                with undisturbed():
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                yield item

    return steps
