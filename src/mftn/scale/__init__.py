"""Prediction on many machines, with Ray Data: nothing is lost when a machine is.

`write` recognises files by the million into a folder of Parquet parts and goes on where an earlier run ended;
`predict` gives a `ray.data.Dataset` to programs with pipelines of their own. Needs `mftn[ray]`.
"""

from mftn.scale.dataset import predict as predict
from mftn.scale.run import write as write
from mftn.scale.settings import Settings as Settings
from mftn.scale.summary import Summary as Summary

__all__ = ["Settings", "Summary", "predict", "write"]
