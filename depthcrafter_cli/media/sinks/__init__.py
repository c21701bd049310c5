"""Outputs: one sink per format behind one registry."""

from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.sinks.base import DepthFrame, DisparitySink, SinkSettings
from depthcrafter_cli.media.sinks.registry import check_outputs, sink_for

__all__ = ["DepthFrame", "DisparitySink", "Look", "SinkSettings", "check_outputs", "sink_for"]
