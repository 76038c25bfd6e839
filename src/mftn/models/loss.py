"""The joint loss of both heads.

Source: L = λ·L1 + (1−λ)·L2 in figure 1 of the MFTN-FER README; the released code gives the backbone a weight of 0.45.
"""

from torch import Tensor, nn

from mftn.models.mftn import Logits
from mftn.spec import LAMBDA_MSTN


class JointLoss(nn.Module):
    """λ times the cross-entropy of the MsTN plus 1−λ times that of the backbone.

    A baseline has one head, whose cross-entropy is the loss.

    Args:
        lambda_mstn: λ, the weight of the MsTN's head, 0 to 1.
        label_smoothing: Probability mass spread evenly over the classes, 0 to 1.
    """

    def __init__(self, lambda_mstn: float = LAMBDA_MSTN, label_smoothing: float = 0.1) -> None:
        super().__init__()
        self.lambda_mstn = lambda_mstn
        self.cross_entropy = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def forward(self, logits: Logits, target: Tensor) -> Tensor:
        """The mean loss of a batch.

        Args:
            logits: Logits of both heads, (B, K).
            target: Class indices (B,) or distributions over the classes (B, K).
        """
        return self.join(*self.heads(logits, target))

    def heads(self, logits: Logits, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """The mean cross-entropy of the backbone's head and, where there is one, of the MsTN's."""
        mstn = None if logits.mstn is None else self.cross_entropy(logits.mstn, target)
        return self.cross_entropy(logits.backbone, target), mstn

    def join(self, backbone: Tensor, mstn: Tensor | None) -> Tensor:
        """Combine both heads' losses into one."""
        return backbone if mstn is None else self.lambda_mstn * mstn + (1 - self.lambda_mstn) * backbone
