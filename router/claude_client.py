"""ClaudeBackend: Anthropic's Messages API through the anthropic SDK."""


class ClaudeBackend:
    """Claude, as a backend of the router."""

    name = "claude"
