"""`mftn serve`: a page for people and an HTTP service for programs. It needs the extra `serve`."""
