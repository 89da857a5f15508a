"""Anthropic Messages: as a caller's dialect (`messages`) and as a backend's (`claude`)."""
