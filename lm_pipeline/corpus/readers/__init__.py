"""One module a file format; every reader yields records and, for what cannot be read, the reason."""
