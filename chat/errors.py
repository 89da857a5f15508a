"""The error of a command of the chat."""


class ChatError(Exception):
    """A command cannot be carried out; the message is one line that says why, and what to do."""
