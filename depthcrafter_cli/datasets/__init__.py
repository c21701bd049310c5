"""Clips with true depth, whatever their layout: a registry of sets and one reader for each."""
