"""Defaults for every test, the chapters' kernels included: small budget, one thread, outputs as for the book."""

import os

for name, value in {"DGM_BUDGET": "smoke", "DGM_STATIC": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}.items():
    os.environ.setdefault(name, value)
