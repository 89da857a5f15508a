"""What build.py makes of the settings: seats, shared state, and what outlives a reading."""
