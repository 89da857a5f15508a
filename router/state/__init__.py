"""State that outlives a request: in this process, and on disk."""
