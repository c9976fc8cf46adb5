"""compose.yaml: by the published schema, and everything that it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.manifests import DEPLOY, RULES, compose, problems, servers, understood, variables

from interpose.hosts.serving import DRAIN

COMPOSE = compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("gateway", "interceptor")


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    """By the Compose specification, as check-jsonschema brings it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_is_valid_by_the_published_schema() -> None:
    """All of it."""
    done = validated(DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_a_field_that_does_not_exist_is_none_of_the_schema(tmp_path: Path) -> None:
    """So that being valid means something: of services, and deeper."""
    for path in (("healthchek",), ("deploy", "replica"), ("healthcheck", "start_intervall")):
        broken = compose()
        place = broken["services"]["gateway"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = "5s"
        (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken))
        assert validated(tmp_path / "compose.yaml").returncode == 1


@pytest.mark.parametrize("kind", ["networks", "volumes", "secrets"])
def test_what_services_name_is_there_and_is_used(kind: str) -> None:
    """Networks, named volumes, secrets: no more and no fewer."""
    used = set()
    for service in SERVICES.values():
        for each in service.get(kind, []):
            source, _, _ = each.partition(":")
            if not source.startswith("."):
                used.add(source)
    assert used == COMPOSE[kind].keys()


def test_files_that_are_mounted_are_in_the_folder() -> None:
    """Docker would make an empty folder of one that is not. Secrets alone are for the reader to make."""
    for service in SERVICES.values():
        for each in service.get("volumes", []):
            source, target, *mode = each.split(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), each
                assert mode == ["ro"], each
                assert target.startswith("/")
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())


def test_every_variable_is_in_the_example() -> None:
    """And the example has none that nothing reads."""
    listed = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert set(variables(COMPOSE)) == listed


def test_a_service_waits_for_those_that_can_say_that_they_are_healthy() -> None:
    """Each that is waited for has a check of its own."""
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_as_little_as_it_needs(name: str) -> None:
    """No root, nothing to write to but what is named, no capability, bounds on memory, processor and processes."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service
    assert "privileged" not in service


def test_only_the_balancer_can_be_reached_from_outside() -> None:
    """By this machine alone unless .env says otherwise, and what is shared has no way out either."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["balancer"]
    assert all(port.startswith("${PUBLISH:-127.0.0.1}:") for port in SERVICES["balancer"]["ports"])
    assert COMPOSE["networks"]["state"]["internal"] is True
    assert [SERVICES[name]["networks"] for name in ("valkey", "postgres")] == [["state"], ["state"]]


@pytest.mark.parametrize(("name", "command"), [("gateway", "serve"), ("interceptor", "run")])
def test_the_command_is_one_of_ours(name: str, command: str) -> None:
    """It reads rules that are mounted there, and listens where it is asked for its health and the balancer looks."""
    service = SERVICES[name]
    said, options = understood(service["command"])
    assert said == command
    assert options["listen"] in ("0.0.0.0:8080", ["0.0.0.0:8080"])
    assert "8080" in " ".join(service["healthcheck"]["test"])
    assert "./rules:/etc/interpose:ro" in service["volumes"]
    assert options["rules"] == Path("/etc/interpose") / f"{name}.yaml"
    assert f"{name}:/var/lib/interpose" in service["volumes"]
    balancer = (DEPLOY / "haproxy.cfg").read_text()
    assert re.search(rf"server-template {name} \d+ {name}:8080 resolvers docker", balancer)


@pytest.mark.parametrize("name", OURS)
def test_the_rules_are_good_and_find_what_they_name(name: str, tmp_path: Path) -> None:
    """What is shared is a service on a network of theirs, with the password that it starts with; keys are secrets."""
    rules = (RULES / f"{name}.yaml").read_text()
    assert problems(rules, tmp_path) == []
    service = SERVICES[name]
    for server in servers(rules):
        theirs = SERVICES[server.host]
        assert set(service["networks"]) & set(theirs["networks"])
        assert theirs["environment"][server.variable] == service["environment"][server.variable]
    assert (theirs["environment"]["POSTGRES_USER"], theirs["environment"]["POSTGRES_DB"]) == (
        server.user,
        server.database,
    )
    assert set(variables(rules)) == service["environment"].keys()
    assert sorted(re.findall(r"file: /run/secrets/(\w+)", rules)) == sorted(service["secrets"])


def test_a_gateway_gets_time_to_end_its_calls() -> None:
    """More than it waits for them, and its workers for their end."""
    seconds = int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s"))
    assert seconds > DRAIN + 5
    assert int(SERVICES["balancer"]["stop_grace_period"].removesuffix("s")) >= seconds


def test_the_balancer_is_published_where_it_listens() -> None:
    """And it asks for health where it says so."""
    config = (DEPLOY / "haproxy.cfg").read_text()
    published = {port.rpartition(":")[2] for port in SERVICES["balancer"]["ports"]}
    assert set(re.findall(r"^    bind :(\d+)", config, re.MULTILINE)) == published
    asked = SERVICES["balancer"]["healthcheck"]["test"][-1]
    found = re.search(r"bind (127\.0\.0\.1:\d+)\n    monitor-uri (/\w+)", config)
    assert found is not None
    assert asked == f"http://{found[1]}{found[2]}"


def test_the_balancer_is_configured_well() -> None:
    """HAProxy itself says so, of the file as it is."""
    command = ["haproxy", "-c", "-q", "-f", str(DEPLOY / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
