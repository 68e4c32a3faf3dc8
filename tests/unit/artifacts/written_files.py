"""What the tests of the store write into artifacts."""

from pathlib import Path

from lm_pipeline.artifacts import MANIFEST, Stage, Staging

ROOT = Path(__file__).resolve().parents[3]
STAGE = Stage("demo", 1)
FILES = {"a.bin": b"a" * 50_000, "nested/b.bin": b"b" * 70_000, "c.txt": "Gesetz 法律\n".encode()}


def write_files(staging: Staging) -> None:
    for name, content in FILES.items():
        path = staging.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def fill(name: str, content: bytes):
    return lambda staging: (staging.path / name).write_bytes(content) and None


def manifests(root: Path) -> list[Path]:
    return sorted(root.glob(f"*/*/{MANIFEST}"))
