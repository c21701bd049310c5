"""Frames with exact depth from levels of games in the Quake 3 format, ray-cast with Embree."""
