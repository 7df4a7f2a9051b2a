"""Same as `mmdet-lla test`; see its --help."""

import _checkout  # noqa: F401  (first: lets a checkout run that is not installed)

from mmdet_lla.cli.test import main

if __name__ == '__main__':
    raise SystemExit(main())
