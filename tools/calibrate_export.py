"""Refit the general temperature of an exported model and write it into the file.

    python tools/calibrate_export.py MODEL.onnx DATA

It is fitted on the validation split of DATA, a prepared data set, with horizontal-flip test-time augmentation. `mftn
train` and `tools/average_weights.py` do this for checkpoints, and `mftn export` keeps it; this tool is for files
without one.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper

from mftn.data.dataset import FaceDataset
from mftn.engines import Flipped, load_engine
from mftn.evaluate.calibration import fit_general_temperature
from mftn.export.onnx import crop_batches
from mftn.files import write_bytes


def main() -> None:
    """Fit, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    engine = Flipped(load_engine(options.model, engine="onnxruntime"))
    faces = FaceDataset(options.data, "valid", engine.spec.channels)
    rows = np.concatenate([engine.probabilities(crops) for crops in crop_batches(engine.spec, faces)])  # (n, K)
    temperature = fit_general_temperature(torch.from_numpy(rows), faces.labels)
    proto = onnx.load(options.model)
    helper.set_model_props(proto, {"mftn": replace(engine.spec, general_temperature=temperature).to_json()})
    write_bytes(options.model, proto.SerializeToString())
    print(f"{options.model}: general temperature {temperature:.3f} from {len(faces):,} images")


if __name__ == "__main__":
    main()
