"""Checks of a local answer before the caller sees it."""
