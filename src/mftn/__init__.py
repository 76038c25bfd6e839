"""Facial expression recognition with the Multi-stage Feature-aware Transformer Network."""
__version__ = "0.1.0"
