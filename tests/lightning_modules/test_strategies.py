from __future__ import annotations

from types import SimpleNamespace

import pytest
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy

from experiments.errors import UserError
from lightning_modules.strategies import refuse_sharding


def test_sharding_is_refused():
    for strategy in (SingleDeviceStrategy("cpu"), DDPStrategy()):
        refuse_sharding(SimpleNamespace(strategy=strategy))
    with pytest.raises(UserError, match=r"trainer\.strategy: FSDPStrategy shards .* use ddp"):
        refuse_sharding(SimpleNamespace(strategy=FSDPStrategy()))
