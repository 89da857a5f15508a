"""The run-time state of each backend: availability, queue, loading, conversations."""
