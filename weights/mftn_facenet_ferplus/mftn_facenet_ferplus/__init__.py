"""The accurate model of MFTN, found by `mftn predict --model mftn_facenet_ferplus` once it is installed."""
