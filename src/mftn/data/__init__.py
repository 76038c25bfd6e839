"""Data sets: readers, preparation, manifest, and what training reads; needs `mftn[train]`."""
