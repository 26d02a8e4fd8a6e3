import pytest

from datamodules.demo.write import write_demo


@pytest.fixture(scope="package")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    write_demo(root, size=64, patients=120)
    return root
