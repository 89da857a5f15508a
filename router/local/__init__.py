"""Local servers: discovery, their formats and limits, and a small HTTP client."""
