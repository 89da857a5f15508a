"""The server: python server.py --help. web/app.py has its routes."""

from launch import run

if __name__ == "__main__":
    run("web.main")
