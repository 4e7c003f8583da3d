"""Settings of every test: one thread per library, no home of the user, no colours."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "120"
