"""The run-time state of backends and conversations."""
