"""The terminal chat: session (the conversation), render (what is drawn), commands, terminal."""
