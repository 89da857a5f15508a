"""The parts that build.py makes from the settings, and how they outlive a new reading."""
