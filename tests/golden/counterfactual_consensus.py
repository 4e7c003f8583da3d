"""Write `counterfactual_consensus.json`: how well three effects agree, worked out by hand from the definition.

Run with numpy::

    python tests/golden/counterfactual_consensus.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

# Three systems' effects, the outcome's SD, and by hand: mean, standard deviation (population), range, level.
CASES = [
    {"values": [1.0, 1.0, 1.0], "sd": 2.0, "mean": 1.0, "standard_deviation": 0.0, "level": "high"},
    {"values": [0.8, 1.0, 1.2], "sd": 2.0, "mean": 1.0, "standard_deviation": float(np.sqrt(0.08 / 3)), "level": "moderate"},
    {"values": [0.0, 1.0, 2.0], "sd": 2.0, "mean": 1.0, "standard_deviation": float(np.sqrt(2 / 3)), "level": "low"},
]  # fmt: skip


def main() -> None:
    Path(__file__).with_suffix(".json").write_text(json.dumps(CASES, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
