"""Record the golden digests of new stages and new versions: `python tests/golden/update.py`.

A digest on record is never replaced under the same version. Where the version was never released, delete its line
first.
"""

import json
import sys
import tempfile
from pathlib import Path

from cases import CASES, DIGESTS, key, recorded


def main() -> int:
    """Compute every case; write what is new; refuse what differs."""
    known = recorded()
    status = 0
    for stage, digest_in in CASES.values():
        with tempfile.TemporaryDirectory() as folder:
            digest = digest_in(Path(folder))
        before = known.setdefault(key(stage), digest)
        if before != digest:
            print(f"{key(stage)}: the result changed; raise the stage's version in lm_pipeline/stages/versions.py")
            status = 1
        # Older versions of the stage say nothing about today's code.
        known = {name: value for name, value in known.items() if name.split("/")[0] != stage.name or name == key(stage)}
    DIGESTS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", "utf-8")
    print(f"{len(CASES)} cases, {len(known)} digests in {DIGESTS}")
    return status


if __name__ == "__main__":
    sys.exit(main())
