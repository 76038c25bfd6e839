"""Adaptive Context Attention (ACA) and the transformer block around it.

Source: figure 2 of the MFTN-FER README and the code released with it.
"""

from timm.layers import DropPath, Mlp
from torch import Tensor, nn


class AdaptiveContextAttention(nn.Module):
    """Per-channel attention over the tokens, with a depth-wise convolution as position encoding.

    Q = W₂ GELU(W₁ X) through a bottleneck; K, V = W X; A = softmax over the N tokens of Q ⊙ K;
    out = W (A ⊙ V + DWConv3×3(X)). Linear in N: there is no N×N matrix.

    Args:
        dim: Channels C of the tokens.
        reduction: The bottleneck has max(C / reduction, 32) channels.
    """

    def __init__(self, dim: int, reduction: int = 16) -> None:
        super().__init__()
        bottleneck = max(dim // reduction, 32)
        self.query = nn.Sequential(
            nn.Linear(dim, bottleneck, bias=False), nn.GELU(), nn.Linear(bottleneck, dim, bias=False)
        )
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.position = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)
        self.proj = nn.Linear(dim, dim)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The attention map and the values.

        Args:
            x: Tokens, (B, N, C).

        Returns:
            A, which sums to 1 over the tokens in every channel, and V, both (B, N, C).
        """
        key, value = self.kv(x).chunk(2, dim=-1)  # (B, N, C) each
        return (self.query(x) * key).softmax(dim=1), value

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Mix the tokens of an H×W grid, (B, H·W, C) to (B, H·W, C)."""
        attention, value = self.attention(x)
        # Transposed tokens are already a channels-last map, so neither direction needs a copy.
        x_map = x.transpose(1, 2).unflatten(2, grid)  # (B, C, H, W)
        position = self.position(x_map).flatten(2).transpose(1, 2)  # (B, N, C)
        out: Tensor = self.proj(attention * value + position)
        return out


class Block(nn.Module):
    """Pre-norm transformer block: x + ACA(LN(x)), then x + MLP(LN(x)).

    Args:
        dim: Channels C of the tokens.
        mlp_ratio: Width of the MLP's hidden layer, as a multiple of C.
        drop_path: Probability of dropping a residual branch in training.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = AdaptiveContextAttention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Transform the tokens of an H×W grid, (B, H·W, C) to (B, H·W, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))
