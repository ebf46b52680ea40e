"""The `vavam` command: each sub-command is a module here with `add_arguments` and `run`; main.py finds them."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # see vavam_ros/nodes/__init__.py; replay runs beside other work too
