"""What the tests of the hooks share."""

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch):
    """To set the config nicely, for every checkpoint, takes longer than a toy training."""
    monkeypatch.setattr(Config, 'pretty_text', property(str))


@pytest.fixture(autouse=True)
def own_logger():
    """What a test puts in place of the current logger's methods is not there for the next."""
    yield
    vars(MMLogger.get_current_instance()).pop('warning', None)
