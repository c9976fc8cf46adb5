"""The demo, as a newcomer runs it, without the installation."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_demo(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo_show.py")],
        env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=120, start_new_session=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One run, in a shell that has settings of its own which must not matter."""
    return run_demo(
        TMPDIR=str(tmp_path_factory.mktemp("demo")),
        OPENAI_API_KEY="sk-fake-own-key",
        OPENAI_BASE_URL="https://elsewhere.invalid/v1",
        HTTPS_PROXY="http://proxy.invalid:3128",
        NO_PROXY="api.openai.com",
    )


def test_the_demo_succeeds_and_shows_the_main_job(demo: subprocess.CompletedProcess[str]) -> None:
    """The answer of the simulated provider, the credential by name, the model that was sent, the ledger."""
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "words came through interpose one by one" in demo.stdout
    assert "Embedded 2 texts." in demo.stdout
    assert "env:DEMO_KEY" in demo.stdout
    assert "simulated-small" in demo.stdout
    assert "small-is-enough" in demo.stdout
    assert "caught 2 AI calls" in demo.stderr
    assert "$0.0006" in demo.stderr


def test_the_demo_shows_the_audit(demo: subprocess.CompletedProcess[str]) -> None:
    """The chains are sound, a changed number is found, and what was said can be read."""
    assert re.search(r"as it was written: \d+ records in 3 chains: sound", demo.stdout)
    assert re.search(r"changed by hand: writer [0-9a-f]+, record \d: changed", demo.stdout)
    assert "> Why put a proxy before an AI provider?" in demo.stdout


def test_the_demo_shows_no_real_key_and_no_traceback(demo: subprocess.CompletedProcess[str]) -> None:
    """The key is made at random for each run, and starts like this."""
    shown = demo.stdout + demo.stderr
    assert "sk-simulated-" not in shown
    assert "sk-fake-own-key" not in shown
    assert "Traceback" not in shown
    assert "Warning" not in shown


def test_the_demo_names_no_command_that_cannot_work(demo: subprocess.CompletedProcess[str]) -> None:
    """Its ledger goes when it ends: no hint to look at it."""
    assert "interpose usage" not in demo.stdout + demo.stderr
    assert "--state" not in demo.stdout + demo.stderr


def test_the_demo_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    """Every table in one piece: no cell is cut or folded."""
    done = run_demo(TMPDIR=str(tmp_path), COLUMNS="80")
    tables = [line for line in (done.stdout + done.stderr).splitlines() if "  " in line.strip()]
    assert max(map(len, tables)) <= 80
    for whole in ("https://api.openai.com/v1/chat/completions", "text-embedding-3-small", "env:DEMO_KEY", "ttft ms"):
        assert any(whole in line for line in tables)


def test_the_demo_is_plain_text_without_a_terminal(demo: subprocess.CompletedProcess[str]) -> None:
    """It can be read in a log."""
    assert "\033" not in demo.stdout + demo.stderr


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its folder goes when it ends."""
    assert run_demo(TMPDIR=str(tmp_path)).returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["key", "model"])
def test_the_demo_can_fail(broken: str, tmp_path: Path) -> None:
    """If the provider is sent another key or model than the rules say, the demo says so and exits with 1."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import demo_show, demo_provider\n"
        + {
            "key": "demo_show.environment = lambda key, made=demo_show.environment: made('sk-wrong')\n",
            "model": "demo_provider.CHAT_MODEL = 'another'\n",
        }[broken]
        + "sys.exit(demo_show.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "demo failed:" in done.stdout
