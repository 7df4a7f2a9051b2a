"""The `mmdet-lla` command: one module per subcommand, each with `main(argv=None) -> int`."""
