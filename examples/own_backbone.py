"""Build MFTN on another timm network and look at its outputs; needs mftn[train].

python examples/own_backbone.py
"""

import torch

from mftn.models import MFTN, JointLoss

model = MFTN(backbone="mobilenetv3_small_050", num_classes=7, in_chans=1, mstn_depths=(1, 1, 1))
images = torch.randn(4, 1, 96, 96)
labels = torch.tensor([0, 1, 2, 3])

logits = model(images)
print(
    "heads:", tuple(logits.backbone.shape), tuple(logits.mstn.shape), "prediction:", logits.fused.argmax(dim=1).tolist()
)
print("tokens:", [tuple(tokens.shape) for tokens in model.forward_features(images)])
print("joint loss:", round(JointLoss()(logits, labels).item(), 2))
