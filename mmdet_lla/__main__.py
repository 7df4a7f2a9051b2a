"""`python -m mmdet_lla`, the same as the command `mmdet-lla`."""

from .cli.main import main

if __name__ == '__main__':
    raise SystemExit(main())
