from mftn.cli import console

raise SystemExit(console())
