"""kubernetes.yaml: by the schemas that Kubernetes publishes, and every name in it leads to something."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from tests.deploy.manifests import DEPLOY, RULES, kubernetes, problems, servers, understood, variables

from interpose.hosts.serving import DRAIN

OBJECTS = kubernetes()
# The first that the file promises to be good for, and the newest that is known.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
DEPLOYMENTS = ("gateway", "interceptor")
# Made by the reader before interceptors get replicas, as the comment above them says.
BROUGHT = {"interceptor-ca"}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


WORKLOADS = of_kind("Deployment") | of_kind("StatefulSet")
SECRETS = {name: set(each["stringData"]) for name, each in of_kind("Secret").items()}
CONFIGS = {name: each["data"] for name, each in of_kind("ConfigMap").items()}


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return found


def containers(name: str) -> list[dict[str, Any]]:
    return [*pod(name).get("initContainers", []), *pod(name)["containers"]]


def labels(name: str) -> dict[str, str]:
    found: dict[str, str] = WORKLOADS[name]["spec"]["template"]["metadata"]["labels"]
    return found


def selected(selector: dict[str, Any]) -> set[str]:
    """The workloads whose pods a selector takes."""
    named = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    taken = {name for name in WORKLOADS if named.items() <= labels(name).items()}
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In"
        taken &= {name for name in WORKLOADS if labels(name).get(each["key"]) in each["values"]}
    return taken


def ports(name: str) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in pod(name)["containers"][0]["ports"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("at", range(len(OBJECTS)), ids=[f"{o['kind']}-{o['metadata']['name']}" for o in OBJECTS])
def test_it_is_valid_by_the_published_schema(at: int, version: str) -> None:
    """Each object, strictly: a field that does not exist is an error."""
    assert version.startswith(kubernetes_validate.validate(OBJECTS[at], version, strict=True))


def test_a_field_that_does_not_exist_is_none_of_the_schema() -> None:
    """So that being valid means something."""
    broken = copy.deepcopy(WORKLOADS["gateway"])
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def test_every_object_has_a_name_of_its_own_in_the_one_namespace() -> None:
    """Nothing lands anywhere else."""
    named = [(each["kind"], each["metadata"]["name"]) for each in OBJECTS]
    assert len(set(named)) == len(named)
    assert {each["metadata"].get("namespace", each["metadata"]["name"]) for each in OBJECTS} == {"interpose"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_selects_its_own_pods_alone(name: str) -> None:
    """And spreads by them."""
    spec = WORKLOADS[name]["spec"]
    assert selected(spec["selector"]) == {name}
    for each in pod(name).get("topologySpreadConstraints", []):
        assert selected(each["labelSelector"]) == {name}


@pytest.mark.parametrize("name", of_kind("Service"))
def test_a_service_leads_to_ports_that_are_open(name: str) -> None:
    """Of the workload that has its name."""
    spec = of_kind("Service")[name]["spec"]
    assert selected(spec["selector"]) == {name}
    assert all(each["targetPort"] in ports(name) for each in spec["ports"])


def test_what_stands_beside_a_deployment_names_it() -> None:
    """The budget of disruptions, the autoscaler, the headless services."""
    for name, each in of_kind("PodDisruptionBudget").items():
        assert selected(each["spec"]["selector"]) == {name}
    for name, each in of_kind("HorizontalPodAutoscaler").items():
        assert each["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        # The two would fight over it.
        assert "replicas" not in WORKLOADS[name]["spec"]
    for name, each in of_kind("StatefulSet").items():
        assert of_kind("Service")[each["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"
        assert each["spec"]["serviceName"] == name


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_volume_that_is_mounted_is_there(name: str) -> None:
    """With a place of its own, from a ConfigMap or Secret of the file, or one that its comment has the reader make."""
    claimed = {each["metadata"]["name"] for each in WORKLOADS[name]["spec"].get("volumeClaimTemplates", [])}
    volumes = {each["name"]: each for each in pod(name).get("volumes", [])}
    mounted = {mount["name"] for container in containers(name) for mount in container["volumeMounts"]}
    assert mounted == volumes.keys() | claimed
    for container in containers(name):
        places = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(places)) == len(places)
    for volume in volumes.values():
        if "configMap" in volume:
            assert volume["configMap"]["name"] in CONFIGS
        if "secret" in volume:
            assert volume["secret"]["secretName"] in SECRETS.keys() | BROUGHT


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_secret_that_is_read_has_that_key(name: str) -> None:
    """In the environment."""
    references = [
        each["valueFrom"]["secretKeyRef"]
        for container in containers(name)
        for each in container.get("env", [])
        if "valueFrom" in each
    ]
    assert references
    assert all(each["key"] in SECRETS[each["name"]] for each in references)


def test_no_secret_is_written_down() -> None:
    """Each is for the reader to fill in."""
    assert {value for each in of_kind("Secret").values() for value in each["stringData"].values()} == {"REPLACE-ME"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_pod_is_as_restricted_as_its_namespace_demands(name: str) -> None:
    """By the Pod Security Standard `restricted`, and with a root that cannot be written to.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    namespace = of_kind("Namespace")["interpose"]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pod(name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert all(volume.keys() - {"name"} <= {"configMap", "secret", "emptyDir"} for volume in spec.get("volumes", []))
    for container in containers(name):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(("name", "command"), [("gateway", "serve"), ("interceptor", "run")])
def test_the_command_is_one_of_ours(name: str, command: str) -> None:
    """It reads rules that are mounted, and listens on the port that is exposed and probed."""
    (container,) = pod(name)["containers"]
    said, options = understood(container["args"])
    assert said == command
    (port,) = ports(name).values()
    assert options["listen"] in (f"0.0.0.0:{port}", [f"0.0.0.0:{port}"])
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(name)["volumes"]}
    assert options["rules"].name in CONFIGS[volumes[mounts[str(options["rules"].parent)]]["configMap"]["name"]]
    assert "emptyDir" in volumes[mounts["/var/lib/interpose"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        (asked,) = (container[probe][way] for way in ("httpGet", "tcpSocket") if way in container[probe])
        assert asked["port"] in ports(name)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_rules_are_good_and_find_what_they_name(name: str, tmp_path: Path) -> None:
    """What is shared is a Service at that port, with the password that it starts with; keys are mounted."""
    rules = CONFIGS["rules"][f"{name}.yaml"]
    assert problems(rules, tmp_path) == []
    (container,) = pod(name)["containers"]
    environment = {each["name"]: each["valueFrom"] for each in container["env"]}
    assert set(variables(rules)) == environment.keys()
    for server in servers(rules):
        assert of_kind("Service")[server.host]["spec"]["ports"][0]["port"] == server.port
        theirs = {each["name"]: each for each in pod(server.host)["containers"][0]["env"]}
        assert theirs[server.variable]["valueFrom"] == environment[server.variable]
    assert (theirs["POSTGRES_USER"]["value"], theirs["POSTGRES_DB"]["value"]) == (server.user, server.database)
    (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == "/run/secrets")
    assert set(re.findall(r"file: /run/secrets/(\w+)", rules)) == SECRETS[mount["name"]]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_rules_are_those_of_compose_but_for_whom_limits_count(name: str) -> None:
    """One is not forgotten when the other is changed."""

    def lines(rules: str) -> list[str]:
        kept = [line.split(" #")[0].rstrip() for line in rules.splitlines() if line.strip()[:1] not in ("#", "")]
        return [line for line in kept if line != "version: 1"]

    ours, theirs = CONFIGS["rules"][f"{name}.yaml"], (RULES / f"{name}.yaml").read_text()
    assert lines(ours)[: lines(ours).index("limits:")] == lines(theirs)[: lines(theirs).index("limits:")]
    amounts = r"(?:name|requests): ([\w/]+)"
    assert re.findall(amounts, ours) == re.findall(amounts, theirs)


def test_valkey_is_configured_as_in_compose() -> None:
    """By the same lines."""
    text = (DEPLOY / "valkey.conf").read_text()
    assert CONFIGS["valkey"]["valkey.conf"].splitlines() == [line for line in text.splitlines() if line[:1] != "#"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_pod_gets_time_to_end_its_calls(name: str) -> None:
    """What is sent to it until it has left its Service, the calls in flight, and its worker's end."""
    (container,) = pod(name)["containers"]
    sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    assert pod(name)["terminationGracePeriodSeconds"] > int(seconds) + DRAIN + 5


def test_interceptors_get_the_ca_that_was_made_for_all_of_them(tmp_path: Path) -> None:
    """By the command of their init container, from a Secret as Kubernetes mounts it: one CA, its key for us alone."""
    made, secret, state = (tmp_path / name for name in ("made", "secret", "state"))

    def shown(folder: Path) -> str:
        command = [sys.executable, "-m", "interpose", "ca", "show", "--state", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        (fingerprint,) = re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", done.stdout)
        return str(fingerprint)

    fingerprint = shown(made)
    for folder in (secret, state):
        folder.mkdir()
    shutil.copy(made / "ca" / "mitmproxy-ca.pem", secret)
    (secret / "mitmproxy-ca.pem").chmod(0o440)
    (init,) = pod("interceptor")["initContainers"]
    assert {each["name"] for each in init["env"]} == {"CA", "STATE"}
    environ = {"PATH": os.environ["PATH"], "CA": str(secret), "STATE": str(state)}
    subprocess.run(init["command"], env=environ, timeout=60, check=True)
    assert shown(state) == fingerprint


def allowed() -> Iterator[tuple[set[str], str, Any]]:
    """Who may be reached by whom: pods, a direction, its peers and ports."""
    for each in of_kind("NetworkPolicy").values():
        for direction in ("ingress", "egress"):
            for rule in each["spec"].get(direction, []):
                yield selected(each["spec"]["podSelector"]), direction, rule


def test_pods_may_speak_to_what_they_need_and_to_nothing_else() -> None:
    """By default to nobody; gateways and interceptors to what is shared, and that is asked by them alone."""
    nothing = of_kind("NetworkPolicy")["nothing"]["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    out = {}
    for pods, direction, rule in allowed():
        peers = [
            selected(peer["podSelector"]) for peer in rule.get("from", rule.get("to", [])) if "podSelector" in peer
        ]
        if direction == "ingress" and pods == {"valkey", "postgres"}:
            assert peers == [set(DEPLOYMENTS)]
            assert {each["port"] for each in rule["ports"]} == {"valkey", "postgres"}
        elif direction == "egress":
            assert pods == set(DEPLOYMENTS)
            for (peer,) in peers:
                out[peer] = [each["port"] for each in rule["ports"]]
    assert out == {name: [ports(name)[name]] for name in ("valkey", "postgres")}
