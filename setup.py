"""All is in setup.cfg, but that an editable install brings mmdet_lla.pth as well."""

from setuptools import Distribution, setup


class EditableDistribution(Distribution):
    """Has its data files installed by ``pip install -e``."""

    def has_data(self):
        """What setuptools asks then, where everywhere else it asks for ``has_data_files``."""
        return self.has_data_files()


setup(distclass=EditableDistribution)
