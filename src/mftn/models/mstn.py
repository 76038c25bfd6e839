"""The Multi-stage Transformer Network (MsTN): from three maps of a backbone to one set of logits.

Source: figure 1 of the MFTN-FER README. In the released code, the drop path rate falls from 1.0, so the first
block of every branch never trains; here it rises linearly from 0.
"""

from collections.abc import Sequence

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mftn.models.attention import Block


class MsTN(nn.Module):
    """One branch of transformer blocks per stage; each is projected to a common width, averaged over tokens and summed.

    Args:
        widths: Channels of the three maps.
        num_classes: K; 0 returns the fused feature.
        depths: Blocks in each branch.
        fuse_width: The common width; the second map's by default (512 = 4 × 128 in the published network).
        drop_path_rate: Drop path of the last block of each branch of two or more; it rises from 0 at the first.
        branch_widths: Channels inside the branches; where one differs from its map's, a Linear without bias converts
            it. The published network keeps the maps' widths, but a branch of 1,024 channels would make up most of a
            small network's weights.
        mlp_ratio: Width of the MLPs' hidden layers, as a multiple of the branch's width.
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int,
        depths: Sequence[int] = (2, 2, 2),
        fuse_width: int | None = None,
        drop_path_rate: float = 0.0,
        branch_widths: Sequence[int] | None = None,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        inner = list(branch_widths or widths)
        if not len(depths) == len(widths) == len(inner):
            raise ValueError(f"{len(widths)} maps need as many depths and widths, got {tuple(depths)} and {inner}")
        self.fuse_width = fuse_width or widths[1]
        self.grad_checkpointing = False
        self.lead_ins = nn.ModuleList(
            nn.Identity() if width == wide else nn.Linear(wide, width, bias=False)
            for wide, width in zip(widths, inner, strict=True)
        )
        self.branches = nn.ModuleList(
            nn.ModuleList(
                Block(width, mlp_ratio, drop_path=drop_path_rate * i / max(depth - 1, 1)) for i in range(depth)
            )
            for width, depth in zip(inner, depths, strict=True)
        )
        self.fuse_layers = nn.ModuleList(nn.Linear(width, self.fuse_width, bias=False) for width in inner)
        self.apply(_init_weights)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last Linear by a new one with `num_classes` outputs; 0 removes it."""
        self.head = nn.Linear(self.fuse_width, num_classes) if num_classes else nn.Identity()
        _init_weights(self.head)

    def forward_features(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run every branch, from maps (B, C, H, W) to token sequences (B, H·W, C)."""
        sequences = []
        for lead_in, branch, x_map in zip(self.lead_ins, self.branches, maps, strict=True):
            grid = (int(x_map.shape[2]), int(x_map.shape[3]))
            x = lead_in(x_map.flatten(2).transpose(1, 2))  # (B, N, C)
            for block in branch:  # type: ignore[attr-defined]
                if self.grad_checkpointing and self.training:
                    x = checkpoint(block, x, grid, use_reentrant=False)
                else:
                    x = block(x, grid)
            sequences.append(x)
        return tuple(sequences)

    def forward_head(self, sequences: Sequence[Tensor], pre_logits: bool = False) -> Tensor:
        """Fuse the token sequences (B, N, C) into logits (B, K), or with `pre_logits` into the feature before them."""
        # The mean and the projection are both linear; the mean comes first, so one row per image is projected, not N.
        pooled = [x.mean(dim=1) for x in sequences]  # (B, C)
        fused = torch.stack([fuse(x) for fuse, x in zip(self.fuse_layers, pooled, strict=True)]).sum(dim=0)
        return fused if pre_logits else self.head(fused)  # (B, fuse_width) to (B, K)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, H, W) of the three stages to logits (B, K)."""
        return self.forward_head(self.forward_features(maps))


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
