"""A small decoder-only transformer for the prediction of the next symbol."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, positive
from zoo._module import ZooModule
from zoo._scores import scores

# B batch, T tokens, H heads, D features of a head


class CausalTransformer(ZooModule):
    """The logits of each next symbol from the symbols up to it, by attention that looks back alone.

        h <- h + attention(norm(h)),   h <- h + W_down(silu(W_gate norm(h)) * W_up norm(h)),   logits = W_head norm(h)

    LLaMA's layers: root-mean-square norms before each part, rotary positions, gated SiLU layers, no biases. Shapes:
    tokens are (B, T) in int64 with T at most `context`, logits (B, T, vocab_size). `step` takes (tokens, targets) and
    gives the cross-entropy in nats a symbol and the accuracy, over all tokens alike; exp(loss) is the perplexity.

    Matrices and embeddings start as normal numbers of standard deviation 0.02, the head at zero, so that the first
    predictions are uniform. Trained by AdamW (betas 0.9 and 0.95) with decay on matrices alone, at a constant rate
    unless a schedule is set.

    Raises ValueError for a size below 1, a width that the heads do not share in even parts, lr that is not positive,
    and negative weight_decay.

    Source: H. Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023, arXiv:2302.13971; the head
    at zero and the sizes are ours.
    """

    tiny = {"width": 8, "hidden": 12, "depth": 1, "heads": 2}

    def __init__(
        self,
        vocab_size: int,
        context: int,
        width: int = 64,
        hidden: int = 176,
        depth: int = 2,
        heads: int = 4,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, vocab_size=vocab_size, context=context, width=width, hidden=hidden, depth=depth, heads=heads)
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of 2 heads = {2 * heads}, for pairs of features, got {width}")
        positive(lr=lr)
        not_negative(weight_decay=weight_decay)
        self.save_hyperparameters()
        self.embedding = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(_Block(width, hidden, heads, context) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.embedding(tokens)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))

    def step(self, batch: Any) -> dict[str, Tensor]:
        tokens, targets = batch
        return scores(self(tokens).flatten(0, 1), targets.flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        matrices: dict[str, Any] = {"params": [p for p in self.parameters() if p.dim() >= 2]}
        vectors: dict[str, Any] = {"params": [p for p in self.parameters() if p.dim() < 2], "weight_decay": 0.0}
        lr, weight_decay = self.hparams["lr"], self.hparams["weight_decay"]
        return torch.optim.AdamW([matrices, vectors], lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay)


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int, context: int) -> None:
        super().__init__()
        self.attention_norm, self.gated_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention, self.gated = _Attention(width, heads, context), _Gated(width, hidden)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(self.attention_norm(h))
        return h + self.gated(self.gated_norm(h))


class _Attention(nn.Module):
    """Causal attention of several heads, with rotary positions."""

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        pairs = width // heads // 2
        frequencies = 10_000.0 ** (-torch.arange(pairs) / pairs)
        angles = torch.outer(torch.arange(context), frequencies)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (self._split(layer(h)) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(self._turned(q), self._turned(k), v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, h_BTW: Tensor) -> Tensor:
        return h_BTW.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _turned(self, h_BHTD: Tensor) -> Tensor:
        """Each pair of features turned by its frequency times the position: products depend on distances alone."""
        even, odd = h_BHTD.chunk(2, dim=-1)
        cos, sin = self.cos[: h_BHTD.shape[2]], self.sin[: h_BHTD.shape[2]]
        return torch.cat([even * cos - odd * sin, even * sin + odd * cos], -1)


class _Gated(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(h)) * self.up(h))
