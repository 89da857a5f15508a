"""The terminal chat.

session.py: the conversation. source.py: what answers it, in_process.py or served.py. terminal.py,
prompt.py and render.py: what is typed and drawn. commands.py: lines that begin with `/`.
"""
