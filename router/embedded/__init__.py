"""The built-in model: a llama.cpp server that the router starts itself."""
