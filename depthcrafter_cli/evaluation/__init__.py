"""Predictions measured against true depth; numpy only."""
