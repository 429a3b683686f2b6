"""Linux's files of memory, in the forms that proc(5), cgroups(7) and Linux's documentation give."""

from __future__ import annotations

from sshpyk.wire import cgroups

V1 = """\
9:name=systemd:/user.slice/user-1000.slice/session-5.scope
4:memory:/user.slice/user-1000.slice
2:cpu,cpuacct:/user.slice
"""
V1_MOUNTS = """\
24 1 0:22 / /proc rw,nosuid - proc proc rw
33 32 0:29 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd
40 32 0:36 / /sys/fs/cgroup/memory rw,nosuid shared:17 - cgroup cgroup rw,memory
"""
V2 = "0::/user.slice/user-1000.slice/session-5.scope\n"
V2_MOUNTS = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_1() -> None:
    assert cgroups.directories(V1, V1_MOUNTS) == (
        1,
        [
            "/sys/fs/cgroup/memory/user.slice/user-1000.slice",
            "/sys/fs/cgroup/memory/user.slice",
            "/sys/fs/cgroup/memory",
        ],
    )


def test_version_2() -> None:
    version, found = cgroups.directories(V2, V2_MOUNTS)
    assert version == 2
    assert found[0] == "/sys/fs/cgroup/user.slice/user-1000.slice/session-5.scope"
    assert found[-1] == "/sys/fs/cgroup"


def test_both_versions_at_once() -> None:
    """In systemd's hybrid mode the memory is version 1's."""
    unified = "42 32 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    assert cgroups.directories(V1 + "0::/\n", unified + V1_MOUNTS)[0] == 1


def test_in_a_container() -> None:
    mounts = V1_MOUNTS.replace("0:36 / /", "0:36 /docker/a\\040b /")
    inside = cgroups.directories("4:memory:/docker/a b/job\n", mounts)[1]
    assert inside == ["/sys/fs/cgroup/memory/job", "/sys/fs/cgroup/memory"]
    assert cgroups.directories("4:memory:/elsewhere\n", mounts)[1] == ["/sys/fs/cgroup/memory"]
    moved = cgroups.directories("0::/../outside\n", V2_MOUNTS)[1]
    assert moved == ["/sys/fs/cgroup"]


def test_where_there_is_none() -> None:
    assert cgroups.directories("", "") == (0, [])
    assert cgroups.directories(V2, V1_MOUNTS) == (0, [])


def test_counts_and_sizes() -> None:
    events = "low 0\nhigh 0\nmax 412\noom 3\noom_kill 2\noom_group_kill 0\n"
    assert cgroups.kills(events) == 2
    assert cgroups.kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n") == 1
    assert cgroups.kills("oom_kill_disable 0\nunder_oom 0\n") is None  # before Linux 4.13
    assert cgroups.limit("max\n") is None
    assert cgroups.limit("9223372036854771712\n") is None
    assert cgroups.limit("60000000\n") == 60_000_000
    assert cgroups.table("MemTotal:  24684 kB\nHugePages_Total:   0\n") == {"MemTotal": 25276416}
