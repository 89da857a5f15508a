"""Serves a model with a chat template that knows tools, until standard input ends.

The built-in model's own template has none; with this one, and shown how, it calls them.
Usage: python -m tests.support.tool_model FILE.gguf. Prints its address.
"""

import os
import sys
from pathlib import Path


def main(model: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = 1
    params.n_ctx = 2048
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.sampling.temp = 0.0
    params.use_jinja = True
    params.chat_template = Path(__file__).with_name("tools.jinja").read_text()
    params.verbosity = 1  # errors
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads need not be waited for


if __name__ == "__main__":
    main(sys.argv[1])
