"""Weights for MFTN: mftn_facenet_ferplus.onnx and its card."""
