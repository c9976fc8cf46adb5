"""The `interpose` command: its commands and options, and nothing else. What they do lives in modules that are
imported when a command runs, so that `--help` is instant and only `run` pays for mitmproxy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from interpose import __version__

from . import alerts, ca, evidence, keys
from .arguments import LedgerOption, LedgerRulesOption
from .terminal import colour_wanted, refuse, told

DEFAULT_WEB = "127.0.0.1:8081"
# What commands are for, as --help has them.
CATCH, AUDIT, RULES = "Catch calls", "See what went through", "Rules, keys and alerts"

app = typer.Typer(
    name="interpose",
    help="Catches every AI call of an unmodified application: audits it, injects keys, records what it used.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if colour_wanted() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help="Folder of the CA and the ledger. Default: $INTERPOSE_STATE, else ~/.local/state/interpose or its like.",
    ),
]
RulesOption = Annotated[
    Path | None,
    typer.Option("--rules", metavar="F", help="The rules file. Without one: record everything, change nothing."),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"interpose {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def with_web_address(args: list[str]) -> list[str]:
    """The arguments with the address that `--web` stands for by itself: its value may be left out."""
    done: list[str] = []
    for place, word in enumerate(args):
        done.append(word)
        if word == "--":
            return done + args[place + 1 :]
        following = args[place + 1] if place + 1 < len(args) else ""
        if word == "--web" and not following.rpartition(":")[2].isdecimal():
            done.append(DEFAULT_WEB)
    return done


class _Run(TyperCommand):
    """Tells `run --`, whose command has got lost (an empty variable, say), from `run`, which listens."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = with_web_address(args)
        ends_in_dashes = args[-1:] == ["--"]
        rest = super().parse_args(ctx, args)
        command = ctx.params.get("command")
        if (ends_in_dashes and not command) or (command and not command[0]):
            refuse("run: there is no command after --; leave -- out to listen without one")
        return rest


@app.command(rich_help_panel=CATCH, cls=_Run, context_settings={"allow_interspersed_args": False})
def run(
    *,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- CMD ARGS…", help="The program whose calls to catch.", show_default=False),
    ] = None,
    rules: RulesOption = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen",
            metavar="H:P",
            help="Where to listen; may be given several times. Default: 127.0.0.1:8080; with CMD a free port.",
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="M",
            help="How clients come: regular, upstream:URL (through another proxy), reverse:URL, socks5, transparent, "
            "local[:APP].",
        ),
    ] = "regular",
    web: Annotated[
        str | None,
        typer.Option("--web", metavar="[H:P]", help="Show what passes in mitmweb. Default: 127.0.0.1:8081."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes that share the address (Linux); one for each core is usual.",
        ),
    ] = 1,
    state: StateOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    hint: Annotated[bool, typer.Option("--hint/--no-hint", hidden=True)] = True,
) -> None:
    """Catch AI calls: of CMD, which runs with proxy and CA set, or of whoever uses the proxy."""
    from .asked import Options
    from .run import run as running

    with told():
        status = running(
            Options(
                command=tuple(command or ()),
                rules=rules,
                listen=tuple(listen or ()),
                state=state,
                quiet=quiet,
                mode=mode,
                web=web,
                workers=workers,
                hint=hint,
            )
        )
    raise typer.Exit(status)


@app.command(rich_help_panel=RULES)
def check(
    file: Annotated[Path, typer.Argument(metavar="F", help="The rules file.", show_default=False)],
) -> None:
    """Validate a rules file: every problem with file:line:column. Exits with 2 if there are any."""
    from .check import check as check_file

    raise typer.Exit(check_file(file))


def _only(word: str, example: str) -> Any:
    """An option that confines a report; typed any number of times, or with commas."""
    return typer.Option(f"--{word}", metavar="NAME", help=f"Only {word}s of that name, such as {example}.")


@evidence.app.callback(invoke_without_command=True)
def usage(
    ctx: typer.Context,
    *,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="A,B",
            help="What to group by, any of them together: provider, model, client, app, route, endpoint, outcome, "
            "host, credential, ip, hour, day, week, month.",
        ),
    ] = "provider,model",
    since: Annotated[
        str | None, typer.Option("--since", metavar="7d", help="Only calls since then: 30m, 24h, 7d or a date.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="Only calls before then; a date takes in that day.")
    ] = None,
    provider: Annotated[list[str] | None, _only("provider", "openai,claude")] = None,
    model: Annotated[list[str] | None, _only("model", "gpt-*")] = None,
    client: Annotated[list[str] | None, _only("client", "team-*")] = None,
    app_: Annotated[list[str] | None, _only("app", "python*")] = None,
    route: Annotated[list[str] | None, _only("route", "gpt-*")] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="TZ", help="Whose days and hours: local, Europe/Berlin ….")
    ] = "UTC",
    format_: Annotated[
        str, typer.Option("--format", metavar="F", help="table, json, csv, or html: a page with charts.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where it goes. Default: stdout.")
    ] = None,
    connections: Annotated[
        bool, typer.Option("--connections", help="Where connections led instead: what passed undecrypted, too.")
    ] = False,
    rules: LedgerRulesOption = None,
    ledger: LedgerOption = None,
    state: StateOption = None,
) -> None:
    """Report what was used: calls, tokens, cost, errors, latency, from the ledger."""
    if ctx.invoked_subcommand is not None:
        return  # which takes what was said ahead of it from the context
    from .usage import Asked, report

    with told():
        only = {"provider": provider, "model": model, "client": client, "app": app_, "route": route}
        asked = Asked(by, since, until, {name: values or () for name, values in only.items()}, timezone)
        report(asked, format_=format_, connections=connections, rules=rules, state=state, ledger=ledger, output=output)


@app.command(rich_help_panel=AUDIT)
def export(
    *,
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID…]",
            help="A call (its whole conversation is meant), the beginning of an id, or a connection.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="FILE", help="A .mitm or HAR file in place of the ledger."),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="last|WRITER", help="All calls of one run: the last, or a writer's.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="1h", help="Only calls since then: 30m, 24h, 7d or a date.")
    ] = None,
    client: Annotated[str | None, typer.Option("--client", metavar="NAME", help="Only this client's calls.")] = None,
    program: Annotated[str | None, typer.Option("--app", metavar="NAME", help="Only this app's calls.")] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="The call by itself, without the rest of its conversation.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is stdout. Default: a name by the id."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", metavar="F", help="html, md or json.")] = "html",
    limit: Annotated[
        str | None, typer.Option("--limit", metavar="SIZE", help="How large a page may grow. Default: 32MiB.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is no export.")] = False,
    rules: LedgerRulesOption = None,
    ledger: LedgerOption = None,
    state: StateOption = None,
) -> None:
    """Write captured calls as one HTML file: who said what, what it cost, what was changed on the way.

    Calls are captured where the rules say so (ledger: {capture: bodies}); .mitm and HAR files hold them anyway.
    """
    from .export import Options as Exporting
    from .export import export as exporting

    with told():
        exporting(
            Exporting(
                ids=tuple(ids or ()),
                files=tuple(source or ()),
                run=run,
                since=since,
                client=client,
                app=program,
                alone=alone,
                output=output,
                format=format_,
                limit=limit,
                force=force,
                rules=rules,
                state=state,
                ledger=ledger,
            )
        )


@app.command(rich_help_panel=CATCH)
def env(
    *,
    shell: Annotated[
        str | None, typer.Option("--shell", metavar="S", help="sh, fish or powershell. Default: this one.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option("--proxy", metavar="URL", help="Where it listens. Default: http://127.0.0.1:8080.")
    ] = None,
    rules: RulesOption = None,
    state: StateOption = None,
) -> None:
    """Print what a shell must set, so that its programs come to `interpose run`: eval "$(interpose env)"."""
    from .env import show

    with told():
        show(shell=shell, proxy=proxy, rules=rules, state=state)


@app.command(rich_help_panel=CATCH)
def doctor(
    *,
    runtimes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUNTIME…]", help="Which to try: python, node, java … Default: all that are found."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", metavar="F", help="table or json.")] = "table",
    state: StateOption = None,
) -> None:
    """Try each runtime of this machine against the proxy: does it come here, does it trust the CA, what to do."""
    from .doctor import doctor as examine

    with told():
        status = examine(runtimes or (), format_=format_, state=state)
    raise typer.Exit(status)


@app.command(rich_help_panel=RULES)
def convert(
    *,
    source: Annotated[str, typer.Option("--from", metavar="A", help="The format that it is in: openai, anthropic …")],
    target: Annotated[str, typer.Option("--to", metavar="B", help="The format that is wanted.")],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="What to convert. Default: stdin.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="K", help="request, reply or stream. Default: seen from the text.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="The model to ask for, or to name in the reply.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="The request asks for a stream, where its URL says so.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything was lost.")] = False,
) -> None:
    """Convert a request, a reply or a stream between wire formats; losses on stderr. Exits with 3 if impossible."""
    from . import convert as converting

    with told():
        status = converting.convert(converting.Conversion(source, target, file, kind, model, stream, strict))
    raise typer.Exit(status)


@app.command(rich_help_panel=RULES)
def explain(
    *,
    file: Annotated[Path, typer.Argument(metavar="F", help="The rules file.", show_default=False)],
    url: Annotated[
        str, typer.Option("--url", metavar="U", help="What the application would call; /v1/… at the gateway.")
    ],
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="The model that it would ask for.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="K:V", help="A header that it would send; may be given several times."),
    ] = None,
    request: Annotated[
        Path | None, typer.Option("--request", metavar="FILE", help="The body that it would send; - for stdin.")
    ] = None,
    client: Annotated[str | None, typer.Option("--client", metavar="NAME", help="The client that it would be.")] = None,
    method: Annotated[str | None, typer.Option("--method", metavar="M", help="Default: what the URL takes.")] = None,
    format_: Annotated[str, typer.Option("--format", metavar="F", help="text or json.")] = "text",
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Where issued keys are. Default: as `run` has it.")
    ] = None,
) -> None:
    """Show what the rules would do with a call, why, and what would be lost; exits with 1 if it would be refused."""
    from .explain import explain as explained
    from .question import Question

    with told():
        status = explained(Question(file, url, model, tuple(header or ()), request, client, method, format_, state))
    raise typer.Exit(status)


@app.command(rich_help_panel=CATCH)
def serve(
    *,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules",
            metavar="F",
            help="The rules file. Without one: OpenAI, Anthropic, Gemini, Mistral and Cohere, as far as their keys are "
            "in the environment, and the usual limits.",
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen", metavar="H:P", help="Where to listen: also [::1]:8080, port 0. Default: 127.0.0.1:8080."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Processes that answer; one for each core is usual.")
    ] = 1,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Where ledger and keys are. Default: the user's state folder."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Speak TLS with this chain, PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say where it answers and what is wrong, and no more.")
    ] = False,
) -> None:
    """Answer as an API proxy: one /v1 for all providers, by a base URL and a key of yours (`interpose keys add NAME`).

    SIGTERM or Ctrl-C: no more calls are taken, those in flight may end (a second one ends them). SIGHUP: the rules are
    read again.
    """
    from .serve import Options as Serving
    from .serve import serve as serving

    with told():
        status = serving(Serving(rules, listen, workers, state, tls_cert, tls_key, quiet))
    raise typer.Exit(status)


class _Replay(TyperCommand):
    """Keeps apart what stands behind `--`: the program that `--serve` is for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            ctx.meta[COMMAND] = tuple(args[place + 1 :])
            if not ctx.meta[COMMAND] or not ctx.meta[COMMAND][0]:
                refuse("replay: there is no command after --; leave -- out to listen without one")
            args = args[:place]
        return super().parse_args(ctx, args)


COMMAND = "interpose.command"


@app.command(rich_help_panel=AUDIT, cls=_Replay)
def replay(
    ctx: typer.Context,
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RULES [FLOWS…] | FLOWS… --serve [-- CMD ARGS…]",
            help="The rules file, then the recordings: ledgers (SQLite), flows of mitmproxy (-w), HAR files; - is "
            "stdin. Without any: the ledger of the rules, else of the state folder.",
            show_default=False,
        ),
    ] = None,
    ledger: Annotated[
        list[str] | None,
        typer.Option("--ledger", metavar="L", help="A ledger: a file, jsonl:FILE, or a database's URL."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="OLD", help="Compare with these rules, not with what was recorded."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", "--verbose", "-v", help="Show every call.")] = False,
    format_: Annotated[
        str, typer.Option("--format", metavar="F", help="table, json, or csv (a line a call).")
    ] = "table",
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="Exit with 1 if anything would change.")
    ] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Answer clients from the recordings, with their timing; nothing is ever sent."),
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="H:P", help="Where --serve listens. Default: 127.0.0.1:8080; with CMD any."),
    ] = None,
    speed: Annotated[
        str, typer.Option("--speed", metavar="N", help="How much faster --serve plays: 2x, 0.5, 0 at once.")
    ] = "1",
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Where issued keys are. Default: as `run` has it.")
    ] = None,
) -> None:
    """Decide recorded calls by other rules, without sending: what would change in routing, cost, refusals, losses.

    With --serve, answer unmodified clients from the recordings: CMD, or whoever uses the address as proxy or base URL.
    """
    named = list(files or ())
    command = ctx.meta.get(COMMAND, ())
    with told():
        if serve:
            from . import cassette

            flows = tuple(map(str, named))
            status = cassette.serve(cassette.Options(flows, tuple(ledger or ()), command, listen, speed, state))
        else:
            if command:
                refuse("replay: a command after -- is for --serve")
            if not named:
                refuse("replay: name the rules that the calls are to be decided by, then the recordings")
            from .replay import Options as Replaying
            from .replay import replay as replaying

            flows = tuple(map(str, named[1:]))
            options = Replaying(named[0], flows, tuple(ledger or ()), against, format_, each, fail_on_change, state)
            status = replaying(options)
    raise typer.Exit(status)


app.add_typer(alerts.app, name="alerts", rich_help_panel=RULES)
app.add_typer(ca.app, name="ca", rich_help_panel=CATCH)
app.add_typer(keys.app, name="keys", rich_help_panel=RULES)
app.add_typer(evidence.app, name="usage", rich_help_panel=AUDIT)
