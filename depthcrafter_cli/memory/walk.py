"""A network's forward pass, layer by layer, with an account of what is in memory.

A network's peak is the largest sum, over its layers, of

    weights (if offloaded) + waiting + held + at work

where *waiting* are the tensors kept for the way up, *held* is the layer's input and result
(T x pixels x channels), and *at work* is what a chunk needs on the way. A layer that was sent to
the host still counts until the next one is there, and of one that comes back, the chunk in use and
the next one count: :mod:`depthcrafter_cli.models.offload` keeps to that. Chunks are as in
:mod:`depthcrafter_cli.models.reordered`: at most ``MemoryPlan.chunk_values`` values of the widest
tensor that a layer names, a frame, row or pixel at least. With C channels and e bytes a value, a
chunk takes per pixel (its 32-bit statistics included):

    convolution with norm    the larger of 4 C and e (C + C'), and where it is cut into rows the
                             result e C'
    temporal convolution     max(4, e) C beside its result, (e + max(4, e)) C if that is not kept
    transformer              16 e C, the feed-forward layer being the widest: 8 + 4 + 4
    attention                7 e C

Where attention forms the products of queries and keys (``in_pieces``), it does so for at most
``MemoryPlan.chunk_values`` of them at a time, and for their softmax: 2 e bytes each.
"""

from collections.abc import Callable, Iterable

from depthcrafter_cli.memory.architecture import Layer

_GATHERED = 4  # bytes per value while 32-bit statistics are gathered


class Walk:
    """One forward pass, layer by layer, keeping account of what is in memory."""

    def __init__(
        self,
        frames: int,
        height: int,
        width: int,
        itemsize: int,
        chunk_values: int,
        *,
        temporal: bool = True,
        offloaded: bool = False,
        recompute: bool = False,
        in_pieces: bool = False,
    ) -> None:
        self.frames, self.height, self.width, self.itemsize = frames, height, width, itemsize
        self.chunk_values, self.temporal = chunk_values, temporal
        self.offloaded, self.recompute = offloaded, recompute
        self.products = 2 * itemsize * chunk_values if in_pieces else 0
        self.waiting: list[tuple[int, int, int]] = []  # bytes, height, width
        self.own = 0  # bytes of the layer that are kept for nothing else
        self.shared = False  # the layer is kept for the way up, too
        self.leaving = False  # it is on its way to the host
        self.enlarged = 0  # channels, if the layer is yet to be enlarged

    def peak(self, layers: Iterable[Layer], weights: Callable[[Layer], int] = lambda _: 0) -> int:
        """The largest need of any layer, its ``weights`` and those sent for next included."""
        each, needed, carried = list(layers), [], 0
        for layer in each:
            # Enlarging happens when the next block asks for it, so its weights come with that.
            delayed = layer.kind == "enlarge"
            needed.append(0 if delayed else weights(layer) + carried)
            carried = weights(layer) if delayed else 0
        coming = [
            next((size for size in needed[index + 1 :] if size), 0) for index in range(len(each))
        ]
        return max(
            (
                self._step(layer) + own + following
                for layer, own, following in zip(each, needed, coming, strict=True)
            ),
            default=0,
        )

    def _step(self, layer: Layer) -> int:
        need = {
            "convolve": self._convolve,
            "residual": self._residual,
            "transform": self._transform,
            "attend": self._attend,
            "halve": self._halve,
            "enlarge": self._enlarge,
        }[layer.kind](layer)
        if layer.keep:
            self.waiting.append((0 if self.offloaded else self.own, self.height, self.width))
            self.shared, self.leaving = not self.offloaded, self.offloaded
        return need

    @property
    def area(self) -> int:
        return self.height * self.width

    def _bytes(self, channels: int) -> int:
        return self.frames * self.area * channels * self.itemsize

    def _waiting(self) -> int:
        """Kept tensors, the layer's own input among them or beside them."""
        return sum(size for size, _, _ in self.waiting) + (0 if self.shared else self.own)

    def _become(self, size: int) -> None:
        self.own, self.shared, self.leaving, self.enlarged = size, False, False, 0

    def _convolve(self, layer: Layer) -> int:
        result, before = self._bytes(layer.outputs), self._waiting()
        n = self._pieces(self.frames, self.area * max(layer.inputs, layer.outputs))
        at_work = n * self.area * layer.outputs * self.itemsize
        if self.own:
            at_work += self._filtered(n, layer.inputs, layer.outputs)
        self._become(result)
        return before + result + at_work

    def _residual(self, layer: Layer) -> int:
        result = self._bytes(layer.outputs)
        before = self._waiting()
        free = not (self.shared or self.leaving or self.enlarged or layer.skip)
        in_place = free and layer.inputs == layer.outputs
        n = self._pieces(self.frames, self.area * max(layer.inputs, layer.outputs))
        pixels = n * self.area
        part = pixels * self.itemsize
        in_use, coming = self._from_host(n, layer)
        enlarged = part * self.enlarged
        # A skip is joined to them in a tensor of their own, and they are let go.
        source = coming + (part * layer.inputs if layer.skip else enlarged)
        at_work = source + in_use + (enlarged if layer.skip else 0)
        if layer.space:
            at_work = max(
                at_work,
                source + self._filtered(n, layer.inputs, layer.outputs),
                source + part * layer.outputs + self._filtered(n, layer.outputs, layer.outputs),
            )
        space = before + (0 if in_place else result) + at_work
        if layer.skip:
            self.waiting.pop()
        self._become(result)
        if not (self.temporal and layer.time):
            return space
        m = self._pieces(self.area, self.frames * layer.outputs)
        step = max(_GATHERED, self._normalized) + (self.itemsize if self.recompute else 0)
        chunk = self.frames * m * layer.outputs * step
        between = 0 if self.recompute else result
        return max(space, self._waiting() + between + chunk)

    def _transform(self, layer: Layer) -> int:
        if not layer.space:
            return self._waiting()
        inner = self._bytes(layer.outputs)
        n = self._pieces(self.frames, self.area * layer.outputs) * self.area
        m = self._pieces(self.area, self.frames * layer.outputs) * self.frames
        chunk_values = max(n, m) * layer.outputs * self.itemsize
        at_work = max(16 * chunk_values, 8 * chunk_values + self.products)
        return self._waiting() + inner + at_work

    def _attend(self, layer: Layer) -> int:
        if not layer.space:
            return self._waiting()
        n = self._pieces(self.frames, self.area * layer.outputs)
        return self._waiting() + n * self.area * layer.outputs * self.itemsize * 7 + self.products

    def _halve(self, layer: Layer) -> int:
        before, area = self._waiting(), self.area
        self.height, self.width = -(-self.height // 2), -(-self.width // 2)
        result = self._bytes(layer.outputs)
        n = self._pieces(self.frames, self.area * layer.outputs)
        # The VAE pads before it halves, the UNet's convolution pads by itself.
        padded = 0 if self.temporal else n * area * layer.inputs
        self._become(result)
        return before + result + (padded + n * self.area * layer.outputs) * self.itemsize

    def _enlarge(self, layer: Layer) -> int:
        """Nothing yet: the next layer asks for enlarged frames when it needs them."""
        if self.waiting:
            _, self.height, self.width = self.waiting[-1]
        else:
            self.height, self.width = 2 * self.height, 2 * self.width
        if self.recompute:
            self.own = 0
        self.enlarged = layer.outputs
        return self._waiting()

    def _from_host(self, n: int, layer: Layer) -> tuple[int, int]:
        """Bytes of ``n`` frames that waited there: those in use, and those sent for meanwhile."""
        chunk_values = n * self.area * layer.skip if self.offloaded else 0
        if self.recompute:
            chunk_values += n * self.area * self.enlarged // 4
        in_use = chunk_values * self.itemsize
        return in_use, in_use if n < self.frames else 0

    def _filtered(self, n: int, inputs: int, outputs: int) -> int:
        """Norm, activation and 3x3 convolution of ``n`` frames, by rows: result and work."""
        result = n * self.area * outputs * self.itemsize
        rows = self._pieces(self.height, n * self.width * max(inputs, outputs))
        pixels = n * min(self.height, rows + 2 * (rows < self.height)) * self.width
        gathered = self._pieces(self.area, n * inputs) * n * inputs * _GATHERED
        normalized = pixels * inputs * self._normalized
        convolved = pixels * (inputs + outputs) * self.itemsize
        whole = pixels == n * self.area  # the convolution's result is the whole
        return max(gathered, (0 if whole else result) + max(normalized, convolved))

    @property
    def _normalized(self) -> int:
        """Bytes per value while a norm is applied, which some devices do in 32 bits."""
        return self.itemsize + (4 if self.products and self.itemsize < 4 else 0)

    def _pieces(self, length: int, values_each: int) -> int:
        return min(length, max(1, self.chunk_values // values_each))
