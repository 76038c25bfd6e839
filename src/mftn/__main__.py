"""`python -m mftn`."""

from mftn.cli import main

raise SystemExit(main())
