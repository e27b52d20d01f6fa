#!/usr/bin/env bash
# The environment of the benchmark: the peers in the versions that were measured, and this package beside them.
# Torch is pinned exactly everywhere: any other would be a download of gigabytes, and another unit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

HERE=benchmarks/curvature/.peers
TORCH=torch==2.13.0
"${PYTHON:-python3}" -m venv "$HERE"
"$HERE/bin/python" -m pip install --quiet "$TORCH" \
    pyhessian==0.1 hessian-eigenthings==1.0.0a5 curvlinops-for-pytorch==3.0.1 nngeom==0.2.0 landscaper==1.3.1 \
    loss-landscapes==3.0.6 scikit-learn 'setuptools<81' --editable .
# pylandscape pins another torch; it is given what it imports (setuptools: brevitas still asks for pkg_resources).
"$HERE/bin/python" -m pip install --quiet --no-deps pylandscape==0.1.3 brevitas==0.12.1 dependencies==2.0.1

"$HERE/bin/python" - << 'CHECK'
from importlib.metadata import version

import curvlinops, hessian_eigenthings, landscaper, loss_landscapes, nngeom, pyhessian, pylandscape, torch, unstuck

assert torch.__version__.startswith("2.13.0"), f"torch is {torch.__version__}, not 2.13.0"
print("ready:", ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "curvlinops-for-pytorch")))
CHECK
