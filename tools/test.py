"""Same as `mmdet-lla test`; see its --help."""

import _checkout  # noqa: F401  (first: lets a checkout run that is not installed)

from mmdet_lla.cli.mmdet_tools import test

if __name__ == '__main__':
    raise SystemExit(test())
