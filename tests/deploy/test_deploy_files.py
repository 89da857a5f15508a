"""The files of deploy/: they parse, fit each other, and name settings and paths that exist."""

import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from config import Settings, load_settings
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"
NAMES = {name.upper() for name in Settings.model_fields}
RENDER = "helm template llm-router deploy/chart"


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the Dockerfile's instructions and their arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def manifests() -> list[dict[str, Any]]:
    """Return the objects that the chart renders to with its defaults."""
    return [one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()) if one]


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def chart_digest() -> str:
    """Return a digest of the chart's files, whatever their line ends are."""
    digest = hashlib.sha256()
    for path in sorted(CHART.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(CHART).as_posix().encode())
            digest.update(path.read_text("utf-8").encode())
    return digest.hexdigest()


def test_files_that_the_image_copies_are_in_the_repository() -> None:
    allowed = [
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert [name for name in allowed if not (ROOT / name).exists()] == []
    wheel = (ROOT / "pyproject.toml").read_text()
    included = re.findall(r'^"([^"]+)" = "llm_router/', wheel, re.MULTILINE)
    assert included
    assert set(included) <= set(allowed)


def test_the_last_stage_has_no_build_tools_and_no_root() -> None:
    last = stages()[-1]
    words = [word for word, _ in last]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert dict(last)["USER"] == "10001"
    run = " ".join(rest for word, rest in last if word == "RUN")
    assert "pip uninstall" in run
    assert not re.search(r"pip install|apt-get|gcc", run)


def test_the_image_sets_settings_that_exist_and_asks_for_its_own_health() -> None:
    last = dict(stages()[-1])
    given = dict(pair.split("=", 1) for pair in shlex.split(last["ENV"]))
    ours = {name.lower(): value for name, value in given.items() if name in NAMES}
    assert set(ours) == {"server_host", "journal_path", "embedded_model", "shutdown_delay_s"}
    load_settings(None, router_api_key="a-long-key", **ours)
    assert "http://127.0.0.1:8080/ready" in last["HEALTHCHECK"]
    assert last["EXPOSE"] == "8080"


def test_compose_starts_the_servers_that_the_proxy_names() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    upstreams = set(re.findall(r"server (\w+):8080", (DEPLOY / "nginx.conf").read_text()))
    caddy = set(re.findall(r"(\w+):8080", (DEPLOY / "Caddyfile").read_text()))
    routers = set(compose["services"]) - {"nginx", "postgres", "valkey"}
    assert routers == upstreams == caddy
    assert set(compose["services"]["nginx"]["depends_on"]) == routers
    for name in routers:
        router = compose["services"][name]
        assert router["read_only"] is True
        assert router["cap_drop"] == ["ALL"]
        assert set(router["environment"]) <= NAMES
        assert (DEPLOY / router["build"]["context"] / router["build"]["dockerfile"]).is_file()
        assert {mount.split(":")[0] for mount in router["volumes"]} <= {
            "./keys",
            *compose["volumes"],
        }


def test_the_example_environment_names_settings() -> None:
    lines = (DEPLOY / "router.env.example").read_text().splitlines()
    named = [re.match(r"#?([A-Z_]+)=", line) for line in lines]
    found = {one[1] for one in named if one}
    assert "ROUTER_API_KEY" in found
    assert found <= NAMES


def test_the_rendered_manifests_are_those_of_the_chart() -> None:
    first = (DEPLOY / "kubernetes.yaml").read_text().splitlines()[0]
    assert first == f"# {RENDER}, sha256 {chart_digest()}", (
        f"Render it again ({RENDER} > deploy/kubernetes.yaml) and put this line on top."
    )


def test_the_pods_run_without_rights_and_are_ready_when_the_router_says_so() -> None:
    spec = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    data = manifest("ConfigMap")["data"]
    stops_s = float(data["SHUTDOWN_DELAY_S"]) + float(data["SHUTDOWN_GRACE_S"])
    assert spec["terminationGracePeriodSeconds"] > stops_s


def test_settings_are_in_the_config_map_and_secrets_are_not() -> None:
    data = manifest("ConfigMap")["data"]
    assert set(data) <= NAMES
    assert not [name for name in data if name.endswith("_KEY")]
    spec = manifest("Deployment")["spec"]["template"]["spec"]
    sources = spec["containers"][0]["envFrom"]
    assert {"secretRef": {"name": "llm-router"}} in sources
    given = {name.lower(): value for name, value in data.items()}
    load_settings(None, router_api_key="a-long-key", **given)


def test_the_objects_belong_together() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifest("Service")["spec"]["selector"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest("Deployment")["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert "ServiceMonitor" not in {one["kind"] for one in manifests()}
    assert manifest("Deployment")["spec"]["replicas"] == 2


def test_the_objects_fit_the_schemas_of_kubernetes() -> None:
    for one in manifests():
        kubernetes_validate.validate(one, "1.33", strict=True)


@pytest.mark.parametrize("path", sorted(CHART.glob("*.yaml")), ids=lambda path: path.name)
def test_the_charts_values_are_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text())
