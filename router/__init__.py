"""Decides which side answers a chat request, and gets the answer.

docs/architecture.md is the map: what each module holds, the path of one request, the layers.
"""
