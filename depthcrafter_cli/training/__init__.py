"""Training a small model from nothing: generated clips, losses, stages, one loop."""
