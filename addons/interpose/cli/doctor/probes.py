"""What is tried: for each runtime the smallest program that makes one HTTPS call as applications make theirs.

A program is given its URL as last argument. It says PROBING before it calls, so that one that could not run is told
from one whose call went elsewhere, and ends with ABSENT where the library that it is about is not installed. What the
call came to is seen by the proxy, not by the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

PROBING = "interpose-probe"
# The status by which a program says that the library is not there.
ABSENT = 77
# Seconds that a call may take, and a program as a whole: Go and Java compile it first.
CALL = 20
PATIENCE = 90

CA_STORE = "trust our CA in the system's store (`interpose ca show`)"


@dataclass(frozen=True, slots=True)
class Probe:
    """One way of one runtime to call. `arguments` follow the executable; `{file}` in them is the path of `file`, a
    (name, text) that is written first, `{url}` the URL and `{folder}` an empty folder.

    `names` are the commands of which the first one that is found is run. `ignoring` and `refusing` say what to do
    about a program of this kind that goes past the proxy, or does not take our certificate.
    """

    runtime: str
    client: str
    names: tuple[str, ...]
    arguments: tuple[str, ...]
    ignoring: str
    refusing: str = CA_STORE
    version: tuple[str, ...] = ("--version",)
    file: tuple[str, str] | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    says: bool = True
    """Whether the program says PROBING; one that is no program of ours does not."""


def _python(client: str, module: str, call: str, *, ignoring: str) -> Probe:
    program = (
        f"import sys\ntry:\n    import {module}\nexcept ImportError:\n    sys.exit({ABSENT})\n"
        f"print({PROBING!r}, flush=True)\nurl = sys.argv[1]\n{call}\n"
    )
    return Probe("Python", client, ("python3", "python"), ("-c", program, "{url}"), ignoring)


def _node(client: str, call: str) -> Probe:
    program = (
        f"if (typeof fetch === 'undefined') process.exit({ABSENT});\nconsole.log('{PROBING}');\n"
        "const url = process.argv[process.argv.length - 1];\n"
        "const failed = (error) => { console.error(String(error.cause || error)); process.exit(1); };\n" + call
    )
    ignoring = "its proxy settings are its own: does it set an agent or a dispatcher?"
    return Probe("Node", client, ("node",), ("-e", program, "{url}"), ignoring, "set NODE_EXTRA_CA_CERTS")


_FETCH = "fetch(url).then((reply) => reply.text()).then(() => process.exit(0), failed);"
_BUN = (
    f"console.log('{PROBING}'); const url = process.argv[process.argv.length - 1];"
    " const failed = (error) => { console.error(String(error)); process.exit(1); };" + _FETCH
)
_DENO = f"console.log('{PROBING}'); await (await fetch(Deno.args[0])).text();"
_GO = f"""\
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {{
	fmt.Println("{PROBING}")
	if _, err := http.Get(os.Args[1]); err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
}}
"""
_JAVA = f"""\
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

class Probe {{
    public static void main(String[] arguments) throws Exception {{
        System.out.println("{PROBING}");
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        HttpClient.newHttpClient().send(request, BodyHandlers.discarding());
    }}
}}
"""
_RUBY = f"""\
require "net/http"
$stdout.sync = true
puts "{PROBING}"
Net::HTTP.get_response(URI(ARGV[0]))
"""
_PHP = (
    f"if (!function_exists('curl_init')) exit({ABSENT}); echo '{PROBING}', PHP_EOL; $call = curl_init($argv[1]);"
    " curl_setopt($call, CURLOPT_RETURNTRANSFER, true);"
    " if (curl_exec($call) === false) fwrite(STDERR, curl_error($call));"
)
_DOTNET = f"""\
printfn "{PROBING}"
let client = new System.Net.Http.HttpClient()
client.GetAsync(fsi.CommandLineArgs[1]).Result |> ignore
"""

PROBES = (
    Probe(
        "curl",
        "curl",
        ("curl",),
        ("-sS", "-m", str(CALL), "-o", "{folder}/reply", "{url}"),
        "is there a `proxy` or `noproxy` in ~/.curlrc?",
        "set CURL_CA_BUNDLE; a curl that uses the system's own TLS (Windows, macOS) wants the CA in the system's store",
        says=False,
    ),
    _python(
        "urllib",
        "urllib.request",
        f"urllib.request.urlopen(url, timeout={CALL})",
        ignoring="does the program install an opener of its own?",
    ),
    _python("requests", "requests", f"requests.get(url, timeout={CALL})", ignoring="Session.trust_env must be true"),
    _python("httpx", "httpx", f"httpx.get(url, timeout={CALL})", ignoring="trust_env must be true, transport unset"),
    _python(
        "aiohttp",
        "aiohttp, asyncio",
        "async def call():\n"
        f"    async with aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout({CALL})) as session:\n"
        "        await session.get(url)\n"
        "asyncio.run(call())",
        ignoring="ClientSession(trust_env=True) is what makes it look at the environment",
    ),
    _node("fetch", _FETCH),
    _node(
        "https",
        "require('https').get(url, (reply) => reply.resume().on('end', () => process.exit(0))).on('error', failed);",
    ),
    Probe("Bun", "fetch", ("bun",), ("-e", _BUN, "{url}"), "is `proxy` set in the call?", "set NODE_EXTRA_CA_CERTS"),
    Probe(
        "Deno",
        "fetch",
        ("deno",),
        ("eval", _DENO, "{url}"),
        "is a client of its own (Deno.createHttpClient) passed to fetch?",
        "set DENO_CERT",
    ),
    Probe(
        "Go",
        "net/http",
        ("go",),
        ("run", "{file}", "{url}"),
        "a Transport of its own needs Proxy: http.ProxyFromEnvironment",
        f"set SSL_CERT_FILE; on macOS and Windows, {CA_STORE}",
        version=("version",),
        file=("main.go", _GO),
        environ=MappingProxyType({"GOTOOLCHAIN": "local", "GO111MODULE": "off"}),
    ),
    Probe(
        "Java",
        "HttpClient",
        ("java",),
        ("{file}", "{url}"),
        "a ProxySelector of its own hides ours; Apache's HttpClient wants useSystemProperties()",
        "set JAVA_TOOL_OPTIONS (`interpose env` prints it), or import the CA by keytool",
        file=("Probe.java", _JAVA),
        version=("-version",),
    ),
    Probe(
        "Ruby",
        "net/http",
        ("ruby",),
        ("{file}", "{url}"),
        "Net::HTTP.start with a nil proxy address switches it off",
        "set SSL_CERT_FILE",
        file=("probe.rb", _RUBY),
    ),
    Probe(
        "PHP", "curl", ("php",), ("-r", _PHP, "{url}"), "CURLOPT_PROXY must not be set", "set curl.cainfo in php.ini"
    ),
    Probe(
        ".NET",
        "HttpClient",
        ("dotnet",),
        ("fsi", "--quiet", "--exec", "{file}", "{url}"),
        "HttpClientHandler.UseProxy must be true",
        f"set SSL_CERT_FILE on Linux; elsewhere {CA_STORE}",
        file=("probe.fsx", _DOTNET),
    ),
    Probe(
        "Rust",
        "uv (reqwest)",
        ("uv",),
        (
            "pip",
            "install",
            "--dry-run",
            "--no-cache",
            "--no-config",
            "--target",
            "{folder}",
            "--index-url",
            "{url}",
            "interpose-probe",
        ),
        "reqwest's no_proxy() switches it off",
        "set SSL_CERT_FILE; a program with built-in roots (webpki-roots) can't be told",
        environ=MappingProxyType({"UV_HTTP_RETRIES": "0"}),
        says=False,
    ),
)
