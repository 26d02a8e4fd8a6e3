"""The paper's names and figures."""

from covidmt.comparison.configurations import network_names
from covidmt.comparison.paper import BASELINES, BASES, paper_value


def test_the_papers_networks_and_figures():
    names = network_names(["resnet50", "resnext50_32x4d", "timm:legacy_xception", "vgg19_bn", "covidnet", "resnet18"])
    assert list(names.values()) == [*BASES, "Xception", "VGG-19", "COVID-Net", "ResNet-18"]
    assert set(network_names(["vgg19", "vgg19_bn"]).values()) == {"vgg19", "vgg19_bn"}
    assert network_names(["timm:convnext_tiny"]) == {"timm:convnext_tiny": "timm:convnext_tiny"}
    assert paper_value("pi", BASES[::-1], 6) == (4.2, "text beside Fig 6")
    assert paper_value("ols_received", BASELINES, 1) == (70.0, "text beside Fig 4")
    assert paper_value("pi", BASELINES, 1, "worst") == (10.0, 'text beside Table 2 ("up to")')
    assert paper_value("pi", ["ResNet-50"], 1) is None
    assert paper_value("auroc", ["ResNet-50"], 1) is None
