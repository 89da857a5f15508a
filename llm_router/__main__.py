"""Makes `python -m llm_router` the same as `llm-router`."""

import sys

from llm_router import main

sys.exit(main())
