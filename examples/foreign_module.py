"""PI, OLS and Grad-CAM pictures in a LightningModule, a DataModule and a Trainer that know nothing of covidmt.

To run it: python examples/foreign_module.py FOLDER, a folder with sick/*.png and well/*.png
"""

import sys
from pathlib import Path

import lightning as L
import torch
import torchvision
from torch import nn

import covidmt

SIZE = 64


class Foreign(L.LightningModule):
    """A ResNet; ``features`` and ``head`` are all that covidmt asks for."""

    def __init__(self):
        super().__init__()
        network = torchvision.models.resnet18(num_classes=1)
        self.body = nn.Sequential(*list(network.children())[:-2])
        self.top = nn.Sequential(network.avgpool, nn.Flatten(), network.fc)

    def features(self, images):  # (N, 1, S, S) of 0 to 255
        return [self.body(images.float().expand(-1, 3, -1, -1) / 255)]

    def head(self, task):
        return self.top

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.top(self.features(batch[0])[-1]).mean())


class Data(L.LightningDataModule):
    def val_dataloader(self):
        images = torch.utils.data.TensorDataset(torch.zeros(2, 1, SIZE, SIZE))
        return torch.utils.data.DataLoader(images, batch_size=2)


def main(folder: Path) -> dict:
    """Return what was measured."""
    images = sorted(folder.glob("*/*.png"))
    pairs = covidmt.image_pairs(images, [path.parent.name == "sick" for path in images], SIZE)  # lungs included
    task, settings = covidmt.Task("mine", labels=["sick"]), covidmt.Robustness(task="mine", label="sick", overlays=2)
    robustness = covidmt.RobustnessCallback(settings, task)
    trainer = L.Trainer(accelerator="cpu", callbacks=[robustness, covidmt.GradCamOverlays(settings, task)])
    trainer.validate(Foreign(), covidmt.with_pairs(Data(), val=pairs))
    return robustness.last


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
