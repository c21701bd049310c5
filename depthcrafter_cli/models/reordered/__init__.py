"""The networks' own arithmetic in another order, so that a window fits into little memory.

Most layers act on one frame (convolutions, spatial attention) or on one pixel (temporal attention,
feed-forward, 3x1x1 convolutions), so they can run over chunks of frames or of pixels. Only the
temporal GroupNorms see a whole window; their statistics are gathered first, chunk by chunk. The
modules and their weights are those of diffusers, and so is the result, up to rounding.
"""
