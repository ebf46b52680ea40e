"""The sub-commands of `vavam-train`: modules with `add_arguments(parser)` and `run(args) -> exit status`."""
