"""The networks as lists of layers, read from their configs: what memory is computed from."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """One step of a network's forward pass.

    ``residual`` is a residual block (``skip`` of its ``inputs`` channels come from an earlier
    layer), ``transform`` a transformer block, ``attend`` attention alone, ``halve`` and ``enlarge``
    change both sides. ``keep``: the layer's result waits for the way up. ``space`` and ``time`` say
    which halves are computed; one that adds nothing is not.
    """

    kind: Literal["convolve", "residual", "transform", "attend", "halve", "enlarge"]
    inputs: int
    outputs: int
    skip: int = 0
    keep: bool = False
    space: bool = True
    time: bool = True


@dataclass(frozen=True)
class Architecture:
    """All networks of a model, and how many parameters each has.

    A half of the autoencoder that gives what it is given has no layers.
    """

    unet: tuple[Layer, ...]
    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    level_width: int  # of the noise level's embedding
    cross_width: int  # of the frames' embeddings
    unet_parameters: int
    image_encoder_parameters: int
    image_encoder_values: int  # of one of the image encoder's layers, per frame
    image_encoder_operations: int  # of floating-point numbers, per frame
    encoder_parameters: int
    decoder_parameters: int
    upcast_encoder: bool
    latent_channels: int
    factor: int  # pixels of a picture per latent, each way

    @staticmethod
    def of(
        unet: Config,
        vae: Config,
        image_encoder: Config,
        silent: Mapping[str, Collection[str]] | None = None,
    ) -> "Architecture":
        """Read from the ``config.json`` of each network.

        ``silent`` names the layers of ``unet`` and ``vae`` that end a branch which adds nothing,
        and the halves of ``vae`` that give what they are given.
        """
        in_unet, in_vae = ((silent or {}).get(name, ()) for name in ("unet", "vae"))
        layers = tuple(_unet_layers(unet, in_unet))
        level = 4 * unet["block_out_channels"][0]
        cross = unet.get("cross_attention_dim", 1024)
        return Architecture(
            unet=layers,
            encoder=() if "encoder" in in_vae else tuple(_encoder_layers(vae, in_vae)),
            decoder=() if "decoder" in in_vae else tuple(_decoder_layers(vae, in_vae)),
            level_width=level,
            cross_width=cross,
            unet_parameters=_unet_parameters(unet, layers, level, cross),
            image_encoder_parameters=_image_encoder_parameters(image_encoder),
            image_encoder_values=_image_encoder_values(image_encoder),
            image_encoder_operations=_image_encoder_operations(image_encoder),
            encoder_parameters=_encoder_parameters(vae),
            decoder_parameters=_decoder_parameters(vae),
            upcast_encoder=bool(vae.get("force_upcast", True)),
            latent_channels=vae.get("latent_channels", 4),
            factor=2 ** (len(vae["block_out_channels"]) - 1),
        )

    def parameters(self, layer: Layer) -> int:
        """Parameters of one of the UNet's layers."""
        return parameters(layer, self.level_width, self.cross_width)


def parameters(layer: Layer, level: int, cross: int) -> int:
    """Parameters of a layer that sees time; ``level`` and ``cross`` as in Architecture."""
    if layer.kind == "residual":
        width, told = layer.outputs, (level + 1) * layer.outputs if level else 0
        temporal = 2 * (2 * width + 3 * width * width + width) + told
        return _plain_parameters(layer) + told + temporal + 1
    if layer.kind == "transform":
        return _transformer_parameters(layer.outputs, cross)
    return _plain_parameters(layer)


def _plain_parameters(layer: Layer) -> int:
    wide, out = layer.inputs, layer.outputs
    convolution = 9 * wide * out + out
    if layer.kind == "residual":
        shortcut = wide * out + out if wide != out else 0
        return 2 * wide + convolution + 2 * out + 9 * out * out + out + shortcut
    if layer.kind == "attend":
        return 2 * wide + 4 * (wide * wide + wide)
    return convolution


def _transformer_parameters(width: int, cross: int) -> int:
    """A TransformerSpatioTemporalModel of one spatial and one temporal block."""
    square, norm = width * width, 2 * width
    own = 4 * square + width
    other = 2 * square + 2 * cross * width + width
    lift = 8 * square + 8 * width + 4 * square + width
    spatial = 3 * norm + own + other + lift
    temporal = 4 * norm + own + other + 2 * lift
    position = 8 * square + 5 * width
    return norm + 2 * (square + width) + spatial + temporal + position + 1


def _residual(
    module: str,
    inputs: int,
    outputs: int,
    silent: Collection[str],
    skip: int = 0,
    keep: bool = False,
) -> Layer:
    """A residual block in space and time that the network calls ``module``."""
    space, time = (f"{module}.{half}_res_block.conv2" for half in ("spatial", "temporal"))
    return Layer("residual", inputs, outputs, skip, keep, space not in silent, time not in silent)


_ENDS_IN_TIME = ("ff_in.net.2", "attn1.to_out.0", "attn2.to_out.0", "ff.net.2")


def _transform(module: str, width: int, silent: Collection[str], keep: bool = False) -> Layer:
    """A transformer of one block in space and one in time that the network calls ``module``."""
    ends = [f"{module}.temporal_transformer_blocks.0.{name}" for name in _ENDS_IN_TIME]
    still = {*ends, f"{module}.time_pos_embed.linear_2"} <= {*silent}
    adds = f"{module}.proj_out" not in silent
    return Layer("transform", width, width, 0, keep, adds, adds and not still)


def _unet_layers(config: Config, silent: Collection[str]) -> Iterator[Layer]:
    channels, each = config["block_out_channels"], config.get("layers_per_block", 2)
    downs = ["CrossAttn" in kind for kind in config["down_block_types"]]
    ups = ["CrossAttn" in kind for kind in config["up_block_types"]]
    skips = [channels[0]]
    yield Layer("convolve", config.get("in_channels", 8), channels[0], keep=True)
    width = channels[0]
    for index, out in enumerate(channels):
        for number in range(each):
            module = f"down_blocks.{index}"
            named = f"{module}.resnets.{number}"
            yield _residual(named, width, out, silent, keep=not downs[index])
            if downs[index]:
                yield _transform(f"{module}.attentions.{number}", out, silent, keep=True)
            skips.append(out)
            width = out
        if index < len(channels) - 1:
            yield Layer("halve", out, out, keep=True)
            skips.append(out)
    yield _residual("mid_block.resnets.0", width, width, silent)
    yield _transform("mid_block.attentions.0", width, silent)
    yield _residual("mid_block.resnets.1", width, width, silent)
    for index, out in enumerate(reversed(channels)):
        for number in range(each + 1):
            skip, module = skips.pop(), f"up_blocks.{index}"
            yield _residual(f"{module}.resnets.{number}", width + skip, out, silent, skip)
            if ups[index]:
                yield _transform(f"{module}.attentions.{number}", out, silent)
            width = out
        if index < len(channels) - 1:
            yield Layer("enlarge", out, out)
    yield Layer("convolve", width, config.get("out_channels", 4))


def _decoder_layers(config: Config, silent: Collection[str] = ()) -> Iterator[Layer]:
    channels, each = config["block_out_channels"], config["layers_per_block"]
    width = channels[-1]
    middle = "decoder.mid_block"
    yield Layer("convolve", config.get("latent_channels", 4), width)
    yield _residual(f"{middle}.resnets.0", width, width, silent)
    for index in range(each - 1):
        if index == 0:
            yield _attend(f"{middle}.attentions.0", width, silent)
        yield _residual(f"{middle}.resnets.{index + 1}", width, width, silent)
    for index, out in enumerate(reversed(channels)):
        for number in range(each + 1):
            yield _residual(f"decoder.up_blocks.{index}.resnets.{number}", width, out, silent)
            width = out
        if index < len(channels) - 1:
            yield Layer("enlarge", out, out)
    yield Layer("convolve", width, config.get("out_channels", 3))


def _attend(module: str, width: int, silent: Collection[str]) -> Layer:
    return Layer("attend", width, width, space=f"{module}.to_out.0" not in silent)


def _encoder_layers(config: Config, silent: Collection[str] = ()) -> Iterator[Layer]:
    channels, each = config["block_out_channels"], config["layers_per_block"]
    width = channels[0]

    def residual(module: str, inputs: int, outputs: int) -> Layer:
        module = f"encoder.{module}.conv2"
        return Layer("residual", inputs, outputs, space=module not in silent)

    yield Layer("convolve", config.get("in_channels", 3), width)
    for index, out in enumerate(channels):
        for number in range(each):
            yield residual(f"down_blocks.{index}.resnets.{number}", width, out)
            width = out
        if index < len(channels) - 1:
            yield Layer("halve", out, out)
    yield residual("mid_block.resnets.0", width, width)
    yield _attend("encoder.mid_block.attentions.0", width, silent)
    yield residual("mid_block.resnets.1", width, width)
    yield Layer("convolve", width, 2 * config.get("latent_channels", 4))


def _unet_parameters(config: Config, layers: tuple[Layer, ...], level: int, cross: int) -> int:
    first = config["block_out_channels"][0]
    ids = config.get("projection_class_embeddings_input_dim", 768)
    embeddings = (first + ids + 2) * level + 2 * (level * level + level)
    return int(embeddings + 2 * first + sum(parameters(layer, level, cross) for layer in layers))


def _encoder_parameters(config: Config) -> int:
    last = 2 * config["block_out_channels"][-1]
    return int(last + sum(_plain_parameters(layer) for layer in _encoder_layers(config)))


def _decoder_parameters(config: Config) -> int:
    first, top = config["block_out_channels"][0], config["block_out_channels"][-1]
    colours = config.get("out_channels", 3)
    last = 2 * first + 3 * colours * colours + colours
    # With one layer per block the middle attention exists, but its result is not used.
    idle = config["layers_per_block"] == 1
    attention = _plain_parameters(Layer("attend", top, top)) if idle else 0
    return int(last + attention + sum(parameters(layer, 0, 0) for layer in _decoder_layers(config)))


def _image_encoder_values(config: Config) -> int:
    places = (config["image_size"] // config["patch_size"]) ** 2 + 1
    return int(places * (2 * config["hidden_size"] + 2 * config["intermediate_size"]))


def _image_encoder_parameters(config: Config) -> int:
    width, inner, patch = config["hidden_size"], config["intermediate_size"], config["patch_size"]
    places = (config["image_size"] // patch) ** 2 + 1
    layer = 4 * width + 4 * (width * width + width) + 2 * width * inner + inner + width
    embeddings = width + 3 * patch * patch * width + places * width
    ends = 4 * width + width * config["projection_dim"]
    return int(embeddings + config["num_hidden_layers"] * layer + ends)


def _image_encoder_operations(config: Config) -> int:
    width, inner, patch = config["hidden_size"], config["intermediate_size"], config["patch_size"]
    places = (config["image_size"] // patch) ** 2 + 1
    layer = places * (8 * width * width + 4 * width * inner) + 4 * places * places * width
    ends = 6 * patch * patch * width * (places - 1) + 2 * width * config["projection_dim"]
    return int(config["num_hidden_layers"] * layer + ends)
