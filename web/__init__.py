"""The HTTP side; app.py puts it together.

The gate and the endpoints of the dialects are plain ASGI, all other routes FastAPI.
"""
