"""Makes `python -m llm_router` the same as `llm-router`."""

from llm_router import main

main()
