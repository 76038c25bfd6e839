"""`python -m mftn`."""

from mftn.cli import console

raise SystemExit(console())
