"""What `experiments` exports."""

import subprocess
import sys

import experiments


def test_every_public_name_is_there():
    for name in experiments.__all__:
        assert getattr(experiments, name).__name__ == name


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, experiments; print(*{'torch', 'omegaconf', 'numpy', 'yaml'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
