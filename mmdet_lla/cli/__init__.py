"""The `mmdet-lla` command: one module per subcommand, each with `main(argv=None) -> int`."""

from ..utils.threads import stop_spinning

stop_spinning()  # here, because the modules of the commands import torch
