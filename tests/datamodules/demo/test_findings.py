import numpy as np
import pytest

from datamodules.demo.anatomy import Anatomy
from datamodules.demo.findings import FINDINGS
from datamodules.demo.phantom import draw_chest


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_brightens_its_boxes_inside_the_lungs(finding):
    for seed in range(3):
        anatomy = Anatomy.draw(128, np.random.default_rng(seed))
        ill, healthy = (
            draw_chest(anatomy, shown, np.random.default_rng((seed, 1)), size=128) for shown in ([finding], [])
        )
        assert finding in ill.boxes
        # the pose is drawn after the finding and differs, so compare the lungs as a whole
        assert ill.image[ill.lungs].mean() > healthy.image[healthy.lungs].mean() - 25
        for x1, y1, x2, y2 in ill.boxes[finding].astype(int):
            assert ill.lungs[y1:y2, x1:x2].mean() > 0.3
