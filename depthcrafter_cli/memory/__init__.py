"""How much memory a run takes, and the plan that fits: arithmetic, without PyTorch or a device."""
