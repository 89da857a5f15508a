"""Clients of the clouds: requests, errors, models, pictures."""
