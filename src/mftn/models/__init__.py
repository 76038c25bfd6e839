"""The network: Adaptive Context Attention, MsTN, MFTN and its baseline; needs `mftn[train]`."""

from mftn.models.attention import AdaptiveContextAttention, Block
from mftn.models.checkpoint import load_checkpoint, load_model, save_model
from mftn.models.loss import JointLoss
from mftn.models.mftn import MFTN, Baseline, Logits, Network
from mftn.models.mstn import MsTN
from mftn.models.registry import CONVNEXT_SIZES

__all__ = [
    "CONVNEXT_SIZES",
    "MFTN",
    "AdaptiveContextAttention",
    "Baseline",
    "Block",
    "JointLoss",
    "Logits",
    "MsTN",
    "Network",
    "load_checkpoint",
    "load_model",
    "save_model",
]
