"""Local servers: discovery, their formats and limits."""
