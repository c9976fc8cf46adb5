"""What is told of the helper process of `--mode local`."""

from interpose.hosts.mitm.redirector import told


def test_the_end_of_the_helper_is_told_in_one_line() -> None:
    """Its error and the causes of it; the trace and what was logged before are left out."""
    said = (
        "eBPF initialization failed\n\nCaused by:\n    0: failed to attach cgroup_sock_create program\n"
        "    1: `bpf_link_create` failed\n    2: Bad file descriptor (os error 9)\n\nStack backtrace:\n  0: <unknown>"
    )
    assert told(said).startswith(
        "--mode local cannot go on: eBPF initialization failed: failed to attach cgroup_sock_create program: "
        "`bpf_link_create` failed: Bad file descriptor (os error 9); "
    )
    assert "its helper process has ended" in told("")
