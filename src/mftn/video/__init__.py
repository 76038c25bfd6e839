"""Clips and webcams: frames with timestamps that never fall, annotated copies with the sound; needs `mftn[video]`."""

from mftn.video.clip import SUFFIXES, Clip, Frame, is_video
from mftn.video.writer import SAVED_SUFFIXES, VideoWriter, video_writer

__all__ = ["SAVED_SUFFIXES", "SUFFIXES", "Clip", "Frame", "VideoWriter", "is_video", "video_writer"]
