"""What the tests of the hooks share."""

import pytest
from mmengine.config import Config


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch):
    """To set the config nicely, for every checkpoint, takes longer than a toy training."""
    monkeypatch.setattr(Config, 'pretty_text', property(str))
