"""Wire formats: pure functions, no I/O, no settings. A format is one module."""
