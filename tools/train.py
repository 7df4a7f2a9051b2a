"""Same as `mmdet-lla train`; see its --help."""

import _checkout  # noqa: F401  (first: lets a checkout run that is not installed)

from mmdet_lla.cli.mmdet_tools import train

if __name__ == '__main__':
    raise SystemExit(train())
