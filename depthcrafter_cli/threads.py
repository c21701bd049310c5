"""Work that threads do beside the one that hands it to them: things made before they are asked for,
and things done after.

No thread takes up work by itself, so what waits is bounded, and an error is raised in the thread
that handed the work over.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice, repeat, takewhile
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

_END: Any = object()


def ahead(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yield ``items`` in order; a thread makes ``depth`` of them before they are asked for.

    Their error is raised after the items before it. The thread ends with the generator.
    """
    stream = iter(items)
    with closing(called_ahead(repeat(partial(next, stream, _END)), depth)) as made:
        yield from takewhile(lambda item: item is not _END, made)


def called_ahead(
    calls: Iterable[Callable[[], Item]], depth: int, threads: int = 1
) -> Generator[Item, None, None]:
    """Yield what ``calls`` return, in order; ``depth`` of them are made before they are asked for.

    With several ``threads`` several are under way at a time. An error is raised in its place.
    """
    waiting = iter(calls)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        made = deque(pool.submit(call) for call in islice(waiting, depth))
        try:
            while made:
                item = made.popleft().result()
                made.extend(pool.submit(call) for call in islice(waiting, 1))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)


class Behind:
    """Does work in a thread while the caller goes on, in order.

    At most ``depth`` pieces are not done when the caller goes on. With several ``threads`` several
    are under way at a time. After one that failed none is begun. As a context manager it returns
    when all is done.
    """

    def __init__(self, depth: int, threads: int = 1) -> None:
        self._depth, self._pool = depth, ThreadPoolExecutor(threads, thread_name_prefix="behind")
        self._waiting = deque[Future[None]]()
        self._error: Exception | None = None

    def do(self, work: Callable[..., object], *given: Any) -> None:
        """Hand over a piece of work. Raises the error of one before it."""
        self._waiting.append(self._pool.submit(self._done, work, *given))
        while len(self._waiting) > self._depth:
            self._waiting.popleft().result()

    def wait(self) -> None:
        """Return when all is done. Raises the first error of it."""
        while self._waiting:
            self._waiting.popleft().result()

    def stop(self) -> None:
        """Drop what waits, and return when what is under way is done."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Behind":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except Exception:
            if error is None:  # else that is what ended it
                raise
        finally:
            self.stop()

    def _done(self, work: Callable[..., object], *given: Any) -> None:
        if self._error is not None:
            raise self._error
        try:
            work(*given)
        except Exception as error:
            self._error = error
            raise
