"""One commit primitive: an artifact is a directory that is written once, found by its address and verified when opened.

On disk, below `Store.root`:

    <stage>/<key>/manifest.json            created exclusively: the act of publishing
    <stage>/<key>/<attempt>/...            the files, and the manifest by its other name; it says which attempt won
    <stage>/<key>.lock                     flock held by whoever is building
    in_use.lock                            flock shared by all builds, so that gc takes nothing that they found
    work/<stage>/<key>/...                 resumable work in progress (training), under the same lock
    refs/...                               the only mutable files: asset -> stage and key (see `references.py`)

The *key* (address) is the digest of the content digests of the inputs, the spec fields that the stage reads and the
stage-version literal. The *digest* is that of the content: it is what downstream keys and Dagster's data versions use.
"""

from lm_pipeline.artifacts.artifact import MANIFEST, Artifact, Stage
from lm_pipeline.artifacts.publishing import Staging
from lm_pipeline.artifacts.store import Store

__all__ = ["MANIFEST", "Artifact", "Stage", "Staging", "Store"]
