import subprocess
import sys

SCRIPT = """
import sys
from lightning_modules.lungs.segmenters import load_segmenter
load_segmenter("covidmt")
print("timm" in sys.modules, "wandb" in sys.modules)
import wandb
print(wandb.__name__)
"""


def test_timm_does_not_import_wandb_and_others_can():
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["True", "False", "wandb"], ended.stderr
