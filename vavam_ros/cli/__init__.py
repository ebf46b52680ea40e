"""The `vavam` command: each sub-command is a module here with `add_arguments` and `run`; main.py finds them."""
