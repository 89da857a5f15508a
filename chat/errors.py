"""The error of a command of the chat."""


class ChatError(Exception):
    """Raised when a command fails. Its message names the cause and what to do, on one line."""
