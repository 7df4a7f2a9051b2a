"""Same as `mmdet-lla train`; see its --help."""

import _checkout  # noqa: F401  (first: lets a checkout run that is not installed)

from mmdet_lla.cli.train import main

if __name__ == '__main__':
    raise SystemExit(main())
