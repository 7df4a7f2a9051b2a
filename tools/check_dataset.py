"""Same as `mmdet-lla check`; see its --help."""

import _checkout  # noqa: F401  (first: lets a checkout run that is not installed)

from mmdet_lla.cli.check import main

if __name__ == '__main__':
    raise SystemExit(main())
