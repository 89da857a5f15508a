"""Finds secrets and private words in requests, and removes keys from logs and errors."""
