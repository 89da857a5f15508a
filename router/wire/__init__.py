"""Wire formats: pure functions without I/O or settings; one package for each format."""
