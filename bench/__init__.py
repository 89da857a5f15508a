"""The project's own benchmarks: what it costs, where prompts go, a day of traffic."""
