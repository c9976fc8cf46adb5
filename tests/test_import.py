"""What an import of the package costs."""

import subprocess
import sys
from pathlib import Path


def test_what_telemetry_takes_is_loaded_where_it_is_on() -> None:
    """An engine and what it is put together from are there without OpenTelemetry."""
    code = "import sys, interpose.hosts.assembly, interpose.engine, interpose.rules.load\n"
    code += "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))])\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_importing_interpose_costs_nothing() -> None:
    """Neither the package nor the names of the embedded interceptor bring mitmproxy; those for httpx and ASGI bring no
    library of their users' either.
    """
    code = "import sys, interpose\nassert len([name for name in sys.modules if name.startswith('interpose')]) == 1\n"
    code += "from interpose import intercept, intercept_sync\nassert 'mitmproxy' not in sys.modules\n"
    code += "from interpose import AsyncTransport, Gateway, GatewayMiddleware, Transport\n"
    code += "assert not {'mitmproxy', 'httpx', 'httpx2', 'starlette', 'granian', 'opentelemetry'} & set(sys.modules)\n"
    code += "try:\n    interpose.nothing\nexcept AttributeError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "module 'interpose' has no attribute 'nothing'\n"), done.stderr


def test_a_report_does_not_wait_for_rules_and_formats(tmp_path: Path) -> None:
    """Whoever names a ledger's file, or none, gets a report without the rules' reader and the codecs being loaded."""
    code = "import sys\nfrom interpose.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    print(end.code)\n"
    code += "heavy = ('interpose.rules.load', 'interpose.formats.codecs')\n"
    code += "print([name for name in sys.modules if name.startswith(heavy)])\n"
    for arguments in (["usage"], ["usage", "verify"], ["usage", "--ledger", "jsonl:calls.jsonl"]):
        command = [sys.executable, "-c", code, *arguments, "--state", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.stdout.splitlines()[-1] == "[]", (arguments, done.stdout, done.stderr)
        assert "there is no ledger" in done.stderr
