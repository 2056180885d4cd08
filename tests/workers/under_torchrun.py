"""What torchrun starts: `fit` joins the processes by itself, is stopped by a NaN, then trains and is resumed.

torchrun --standalone --nproc-per-node 2 under_torchrun.py FOLDER
"""

import json
import sys
from pathlib import Path

from two_processes import nan_on_one, resumed, said

from dgmlib.core import data_parallel

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    refusal = said(nan_on_one)(folder)
    end = resumed(folder)
    rank, world = data_parallel()
    (folder / f"{rank}.json").write_text(json.dumps({"refusal": refusal, "end": end, "world": world}))
