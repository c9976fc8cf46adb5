"""The wheel, as people install it: what the program reads at run time besides its modules is in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_has_all_files_of_the_package(tmp_path: Path) -> None:
    """Every file of the source package, Node's preload among them, the gateway's rules, and nothing else of the
    checkout.
    """
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "addons" / "interpose"
    files = {path.relative_to(source.parent).as_posix() for path in source.rglob("*") if path.is_file()}
    rules = "interpose/gateway.yaml"
    assert packed == {rules, *(name for name in files if "__pycache__" not in name)}
    assert zipfile.ZipFile(wheel).read(rules) == (ROOT / "rules" / "gateway.yaml").read_bytes()
    assert "interpose/cli/preload/node.cjs" in packed
