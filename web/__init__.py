"""The HTTP pieces: plain ASGI, no framework. server.py puts them together."""
