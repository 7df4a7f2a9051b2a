"""Lets mmcv find mmdet_lla's operators where it came without compiled ones, as mmcv-lite does.

``mmdet_lla.pth`` beside this module imports it whenever Python starts, so that mmdet's own tools
find them, too. It costs no more than this file: nothing is imported before mmcv asks.
"""

import sys


class MmcvExtFinder:
    """Finds ``mmcv._ext`` when nobody else does: the last of ``sys.meta_path``.

    A compiled mmcv is found before, so there is nothing to step aside for.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        """The operators of the mmdet_lla that lies beside this file, for ``mmcv._ext`` alone."""
        if name != 'mmcv._ext':
            return None
        import importlib.util
        import os

        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'mmdet_lla', 'ops')
        if not os.path.isdir(folder):
            return None
        return importlib.util.spec_from_file_location(
            name, os.path.join(folder, '__init__.py'), submodule_search_locations=[folder]
        )


def install() -> None:
    """Put the finder where it is asked last; once, however often this is called."""
    if MmcvExtFinder not in sys.meta_path:
        sys.meta_path.append(MmcvExtFinder)


install()
