"""Prediction on many machines with Ray Data, which survives the loss of machines.

`write` predicts millions of files into a folder of Parquet parts and continues where an earlier run ended; `predict`
returns a `ray.data.Dataset` for your own pipelines. Needs `mftn[ray]`.
"""

from mftn.scale.dataset import predict as predict
from mftn.scale.run import write as write
from mftn.scale.settings import Settings as Settings
from mftn.scale.summary import Summary as Summary

__all__ = ["Settings", "Summary", "predict", "write"]
