"""What ``accelerate launch`` and torchrun start; the same as ``hf-inatsounds train``.

accelerate launch --config_file train/accelerate/two-cpu-processes.yaml train/finetune.py train/recipes/ast-tiny.yaml
accelerate launch --config_file train/accelerate/one-machine.yaml train/finetune.py train/recipes/ast.yaml
torchrun --nproc_per_node 8 train/finetune.py train/recipes/ast.yaml --bf16 true
"""

from __future__ import annotations

import sys

from hf_inatsounds.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
