"""The terminal chat: python chat.py --help."""

from launch import run

if __name__ == "__main__":
    run("chat.main")
