"""Find what must not leave the machine, and take keys out of logs and errors."""
