"""The robust model of MFTN, found by `mftn predict --model mftn_mobile_robust` once it is installed."""
