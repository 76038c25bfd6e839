"""Training: configuration, optimizers, the loop and its run folder; needs `mftn[train]`."""
