"""Clips and webcams: frames with increasing timestamps, annotated copies with sound; needs `mftn[video]`."""

from mftn.video.clip import Clip, Frame
from mftn.video.writer import SAVED_SUFFIXES, VideoWriter, video_writer

__all__ = ["SAVED_SUFFIXES", "Clip", "Frame", "VideoWriter", "video_writer"]
