"""Ships the configs and tools inside the package; all else is in setup.cfg.

mmengine finds ``mmdet_lla::lla/....py`` in ``mmdet_lla/.mim/configs``, where OpenMMLab packages
keep a copy of what lies outside them. A wheel gets copies, an editable install gets links.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """``build_py`` that adds ``mmdet_lla/.mim``."""

    def run(self):
        super().run()
        if self.editable_mode:
            self.link(ROOT / 'mmdet_lla' / '.mim')
        else:
            self.copy(Path(self.build_lib) / 'mmdet_lla' / '.mim')

    def get_outputs(self, include_bytecode=True):
        outputs = super().get_outputs(include_bytecode)
        if not self.editable_mode:
            mim = Path(self.build_lib) / 'mmdet_lla' / '.mim'
            outputs += [str(path) for path in sorted(mim.rglob('*')) if path.is_file()]
        return outputs

    @staticmethod
    def link(mim):
        mim.mkdir(exist_ok=True)
        for name in SHIPPED:
            place = mim / name
            if place.is_symlink():
                place.unlink()
            elif place.is_dir():
                shutil.rmtree(place)
            elif place.exists():
                place.unlink()
            place.symlink_to(os.path.join('..', '..', name))

    @staticmethod
    def copy(mim):
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in SHIPPED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, mim / name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
            else:
                shutil.copy2(source, mim / name)


setup(cmdclass={'build_py': BuildWithMim})
