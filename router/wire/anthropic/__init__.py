"""Anthropic Messages: the dialect of callers (`messages`) and of a backend (`claude`)."""
