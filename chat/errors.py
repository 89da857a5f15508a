"""The error of a command of the chat."""


class ChatError(Exception):
    """A command failed. The message is one line with the cause and what to do."""
