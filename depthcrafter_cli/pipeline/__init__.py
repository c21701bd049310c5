"""Frames in, disparity out: the DepthCrafter algorithm, one file a stage.

Read in the order of the data flow: ``windows`` (which frames share a window), ``noise``,
``conditioning``, ``schedule``, ``denoise``, ``stitch``, ``decode``, and ``pipeline``,
which chains them. No files and no terminal here.
"""
