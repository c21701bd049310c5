"""What only the tests of training share."""

import pytest


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The tiny model, loaded as it is for training, in float32 on the CPU."""
    import torch

    from depthcrafter_cli.models.loading import load_components
    from depthcrafter_cli.training.networks import trainable_networks

    return load_components(
        tiny_folder, device=torch.device("cpu"), dtype=torch.float32, build=trainable_networks
    )
