"""The image encoder: a CLIP vision tower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _quick_gelu(values: Tensor) -> Tensor:
    return values * torch.sigmoid(1.702 * values)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": _quick_gelu}


@dataclass(frozen=True)
class ImageEncoderConfig:
    """What a published config says, with the values of what it leaves out."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


class Embedded(NamedTuple):
    """What the image encoder gives: [n, e]."""

    image_embeds: Tensor


class ImageEncoder(nn.Module):
    """Embeds pictures."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = Tower(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(self, pictures: Tensor) -> Embedded:
        """Of ``pictures`` [n, 3, side, side]."""
        return Embedded(self.visual_projection(self.vision_model(pictures)))


class Tower(nn.Module):
    """Pictures to what becomes of the token in front of their patches, [n, hidden]."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.embeddings = Patches(config)
        self.pre_layrnorm = nn.LayerNorm(width, eps)
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))}
        )
        self.post_layernorm = nn.LayerNorm(width, eps)

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        tokens = self.pre_layrnorm(self.embeddings(pictures))
        for layer in self.encoder["layers"]:
            tokens = layer(tokens)
        result: Tensor = self.post_layernorm(tokens[:, 0])
        return result


class Patches(nn.Module):
    """A token for each patch of a picture, and one in front of them."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        width, side = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, side, side, bias=False)
        self.position_embedding = nn.Embedding((config.image_size // side) ** 2 + 1, width)

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 1 + patches, hidden]."""
        patches = self.patch_embedding(pictures).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pictures), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class Layer(nn.Module):
    """Self-attention and a feed-forward layer; what each gives is added to what it is given."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = Attention(width, config.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(width, eps)
        self.mlp = FeedForward(config)
        self.layer_norm2 = nn.LayerNorm(width, eps)

    def forward(self, tokens: Tensor) -> Tensor:
        """[n, s, hidden]."""
        tokens = tokens + self.self_attn(self.layer_norm1(tokens))
        return tokens + self.mlp(self.layer_norm2(tokens))


class Attention(nn.Module):
    """Self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"got a hidden_size of {width}, expected a multiple of {heads} heads")
        self._heads, self._scale = heads, (width // heads) ** -0.5
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """[n, s, hidden]."""
        query, key, value = (
            project(tokens).unflatten(2, (self._heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(query, key, value, scale=self._scale)
        result: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return result


class FeedForward(nn.Module):
    """Two linear layers, and the config's activation between them."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        if config.hidden_act not in _ACTIVATIONS:
            raise ValueError(
                f"got hidden_act = {config.hidden_act}, expected {' or '.join(_ACTIVATIONS)}"
            )
        self._activation = _ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """[n, s, hidden]."""
        result: Tensor = self.fc2(self._activation(self.fc1(tokens)))
        return result
