"""`python -m lm_pipeline`: the command, and the children that cleaning, training, evaluation and shipping run in."""

import os
import signal
import sys
from pathlib import Path

CHILDREN = ("train", "evaluate", "import", "clean", "ship")


def main(argv: list[str]) -> int:
    """Run a child's work, or the command."""
    if not argv or argv[0] not in CHILDREN:
        from lm_pipeline.cli import main as command

        return command(argv)
    from lm_pipeline.errors import LmPipelineError

    try:
        return _child(argv[0], argv[1:])
    except LmPipelineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:  # also while modules are imported; a training that has begun saves and does not raise it
        print("Interrupted.", file=sys.stderr, flush=True)
        return 128 + signal.SIGINT


def _child(name: str, arguments: list[str]) -> int:
    if name == "ship":
        from lm_pipeline.home import find_home
        from lm_pipeline.tracking.shipper import main as ship

        return ship(find_home(), once="--once" in arguments)
    from lm_pipeline.launch import die_with_parent

    die_with_parent()
    if len(arguments) != 1:
        print(f"usage: python -m lm_pipeline {name} REQUEST.json", file=sys.stderr)
        return 2
    request = Path(arguments[0])
    if name == "clean":
        from lm_pipeline.stages.parts import clean_from_request

        clean_from_request(request)
        return 0
    if name == "import":
        from lm_pipeline.models.huggingface.request import import_from_request

        import_from_request(request)
        return 0
    from lm_pipeline import mkl

    mkl.use_avx2_kernels()
    if name == "train":
        from lm_pipeline.training.request import train_from_request

        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return train_from_request(request)
        from torch.distributed.elastic.multiprocessing.errors import record

        return record(train_from_request)(request) or 0  # a failed rank's traceback stands in what torchrun says
    from lm_pipeline.evaluation.request import evaluate_from_request

    evaluate_from_request(request)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
