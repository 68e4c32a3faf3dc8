from pathlib import Path

import psutil
import pytest

from lm_pipeline import memory
from lm_pipeline.memory import available_bytes

MB = 1 << 20
V2_MOUNT = "31 23 0:28 {top} /sys/fs/cgroup rw,nosuid,relatime shared:9 - cgroup2 cgroup rw,nsdelegate"
V1_MOUNTS = """30 23 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 30 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 30 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"""
OWN_V1 = "4:memory:/docker/0a1b\n2:cpu,cpuacct:/docker/0a1b\n0::/"
ROOT_DISK = "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw"
NO_LIMIT_V1 = 9223372036854771712


def machine(root: Path, own: str, mounts: str) -> Path:
    """A root with what the kernel shows of a process."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own + "\n")
    (root / "proc/self/mountinfo").write_text(f"{ROOT_DISK}\n{mounts}\n")
    return root


def group_v2(folder: Path, maximum: int | str, used: int, files: int = 0, high: int | str = "max") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{maximum}\n")
    (folder / "memory.high").write_text(f"{high}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    shares = f"inactive_file {files // 4}\nactive_file {files - files // 4}\nunevictable 0\n"
    (folder / "memory.stat").write_text(f"anon {used - files}\nfile {files + 4096}\nshmem 4096\n{shares}")


def group_v1(folder: Path, limit: int, used: int, files: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    totals = f"total_inactive_file {files // 4}\ntotal_active_file {files - files // 4}\n"
    (folder / "memory.stat").write_text(f"cache 0\ninactive_file 0\nactive_file 0\n{totals}total_unevictable 0\n")


@pytest.mark.parametrize(
    ("own", "mounts", "folder", "group"),
    [
        pytest.param("0::/", V2_MOUNT.format(top="/"), ".", group_v2, id="version 2, as the root of its namespace"),
        pytest.param(OWN_V1, V1_MOUNTS.format(top="/docker/0a1b"), "memory", group_v1, id="version 1, seen alone"),
        pytest.param(OWN_V1, V1_MOUNTS.format(top="/"), "memory/docker/0a1b", group_v1, id="version 1, among others"),
    ],
)
def test_a_container_has_what_its_limit_leaves_and_the_pages_of_files(tmp_path, own, mounts, folder, group):
    """Its own group as Docker and Kubernetes show it; shared memory is not given back as pages of files are."""
    root = machine(tmp_path, own, mounts)
    group(root / "sys/fs/cgroup" / folder, 100 * MB, 90 * MB, files=15 * MB)
    assert available_bytes(root) == 25 * MB


def test_the_narrowest_of_all_groups_around_counts(tmp_path):
    root = machine(tmp_path, "0::/user.slice/jobs.slice/job 1.scope", V2_MOUNT.format(top="/"))
    top = root / "sys/fs/cgroup"
    group_v2(top / "user.slice/jobs.slice/job 1.scope", "max", 10 * MB)
    group_v2(top / "user.slice/jobs.slice", 64 * MB, 44 * MB)
    group_v2(top / "user.slice", 90 * MB, 44 * MB)
    assert available_bytes(root) == 20 * MB
    group_v2(top / "user.slice", 50 * MB, 44 * MB)
    assert available_bytes(root) == 6 * MB


def test_what_the_kernel_holds_a_process_up_at_is_a_limit(tmp_path):
    root = machine(tmp_path, "0::/a", V2_MOUNT.format(top="/"))
    group_v2(root / "sys/fs/cgroup/a", 100 * MB, 10 * MB, high=50 * MB)
    assert available_bytes(root) == 40 * MB


def test_a_group_above_its_limit_has_nothing_left(tmp_path):
    root = machine(tmp_path, "0::/a", V2_MOUNT.format(top="/"))
    group_v2(root / "sys/fs/cgroup/a", 10 * MB, 11 * MB)
    assert available_bytes(root) == 0


def test_the_number_by_which_version_1_says_that_there_is_no_limit_is_none(tmp_path):
    root = machine(tmp_path, OWN_V1, V1_MOUNTS.format(top="/"))
    group_v1(root / "sys/fs/cgroup/memory", NO_LIMIT_V1, 500 * MB)
    group_v1(root / "sys/fs/cgroup/memory/docker/0a1b", 100 * MB, 40 * MB)
    assert available_bytes(root) == 60 * MB


def test_version_2_beside_version_1_is_passed_over_where_it_does_not_count_memory(tmp_path):
    mounts = f"{V1_MOUNTS.format(top='/')}\n41 30 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
    root = machine(tmp_path, "4:memory:/a\n1:name=systemd:/a\n0::/a", mounts)
    (root / "sys/fs/cgroup/unified/a").mkdir(parents=True)
    group_v1(root / "sys/fs/cgroup/memory/a", 100 * MB, 40 * MB)
    assert available_bytes(root) == 60 * MB


def test_a_path_outside_of_what_is_mounted_has_the_limit_of_what_is(tmp_path):
    root = machine(tmp_path, "0::/../other", V2_MOUNT.format(top="/"))
    group_v2(root / "sys/fs/cgroup", 100 * MB, 40 * MB)
    assert available_bytes(root) == 60 * MB


def test_without_limits_it_is_what_the_machine_has(tmp_path):
    total = psutil.virtual_memory().total
    assert 0 < available_bytes(tmp_path) <= total  # no /proc at all
    root = machine(tmp_path, "0::/a", V2_MOUNT.format(top="/"))
    assert 0 < available_bytes(root) <= total  # a group that cannot be read
    group_v2(root / "sys/fs/cgroup/a", "max", 40 * MB)
    assert available_bytes(root) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


@pytest.mark.parametrize(
    "name", [b"\xd3\xb2\xc5\xcc", b"\xff", "硬盘".encode(), "a\u2028b\u3000c\x85".encode(), b"a\rb"]
)
def test_a_disk_of_any_name_is_no_obstacle(tmp_path, name):
    root = machine(tmp_path, "0::/a", "")
    disk = b"40 23 8:17 / /media/" + name + b" rw,relatime - ext4 /dev/disk/by-label/" + name + b" rw\n"
    (root / "proc/self/mountinfo").write_bytes(disk + V2_MOUNT.format(top="/").encode() + b"\n")
    group_v2(root / "sys/fs/cgroup/a", 100 * MB, 70 * MB)
    assert available_bytes(root) == 30 * MB


def test_this_process_is_in_groups_that_can_be_read():
    top, used = Path("/sys/fs/cgroup"), ("memory.current", "memory.usage_in_bytes")
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines()]
    paths = [path.lstrip("/") for _, controllers, path in own if controllers in {"", "memory"}]
    shown = [top / kind / path / name for kind in (".", "memory") for path in (".", *paths) for name in used]
    if not any(file.is_file() for file in shown):
        pytest.skip("this machine shows no control group of this process that counts memory")
    groups = list(memory._groups(Path("/")))
    assert any((group / name).is_file() for group in groups for name in used)
    assert 0 < available_bytes() <= psutil.virtual_memory().total
