"""Same as `mmdet-lla get-weights`; see its --help."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # of a checkout that is not installed

from mmdet_lla.cli.get_weights import main  # noqa: E402

if __name__ == '__main__':
    raise SystemExit(main())
