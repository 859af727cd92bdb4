"""What ``accelerate launch`` and torchrun start; the same as ``hf-inatsounds evaluate``, on many processes.

accelerate launch --config_file train/accelerate/two-cpu-processes.yaml train/evaluation.py runs/ast --source S
torchrun --nproc_per_node 8 train/evaluation.py runs/ast --source S --split test

(Not evaluate.py: a script's folder comes first where Python looks for modules, and would hide the library `evaluate`.)
"""

from __future__ import annotations

import sys

from hf_inatsounds.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
