"""The files of ``deploy/kubernetes``: schemas, versions, names that refer to each other, and the Job of a run.

The chart itself is not part of the repository. The Job of a run is built by `dagster_k8s` from the two sections of the
values that the chart copies into the configuration of the launcher and of the code location.
"""

import tomllib
from collections.abc import Iterator
from typing import Any

import dagster_k8s.launcher
import kubernetes_validate
import pytest
import yaml
from dagster._core.storage.dagster_run import DagsterRun
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job
from kubernetes import client

from twap_pipeline.api import create_app
from twap_pipeline.cli import cli
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import Settings

pytestmark = pytest.mark.dagster

FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMA_VERSION = "1.33"
IMAGE = "registry.example.com/twap-pipeline"


def load(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((FOLDER / name).read_text("utf-8")) if document]


VALUES: dict[str, Any] = load("values.yaml")[0]
(CODE,) = VALUES["dagster-user-deployments"]["deployments"]
MANIFESTS = [
    *load("api.yaml"),
    *load("network-policy.yaml"),
    *load("secrets.example.yaml"),
    *VALUES["extraManifests"],
]
SECRETS = {document["metadata"]["name"]: document["stringData"] for document in load("secrets.example.yaml")}


@pytest.fixture(scope="module")
def run_job() -> dict[str, Any]:
    """The Job that the launcher creates for a run."""
    launcher_values = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    run_config = launcher_values["runK8sConfig"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dagster_k8s.launcher, "load_kubernetes_config", lambda **_: None)
        launcher = K8sRunLauncher(
            service_account_name="twap-dagster",
            instance_config_map="twap-dagster-instance",
            dagster_home=VALUES["global"]["dagsterHome"],
            postgres_password_secret=VALUES["global"]["postgresqlSecretName"],
            run_k8s_config={
                "container_config": run_config["containerConfig"],
                "pod_spec_config": run_config["podSpecConfig"],
                "job_spec_config": run_config["jobSpecConfig"],
            },
        )
    location = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "env_secrets": [secret["name"] for secret in CODE["envSecrets"]],
                "env": CODE["env"],
                "volumes": CODE["volumes"],
                "volume_mounts": CODE["volumeMounts"],
                "resources": CODE["resources"],
                "run_k8s_config": {"pod_spec_config": {"security_context": CODE["podSecurityContext"]}},
            }
        }
    )
    run = DagsterRun(job_name="ingest_twap_status")
    context = K8sContainerContext.create_for_run(run, launcher, include_run_tags=False).merge(location)
    job = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(f"{IMAGE}:{CODE['image']['tag']}", launcher),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-1",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    manifest: dict[str, Any] = client.ApiClient().sanitize_for_serialization(job)
    return manifest


def pods(run_job: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Yield name, security context and containers of every pod."""
    for manifest in (*MANIFESTS, run_job):
        if "template" in manifest.get("spec", {}):
            spec = manifest["spec"]["template"]["spec"]
            yield manifest["metadata"]["name"], spec["securityContext"], spec["containers"]
    for name in ("dagsterWebserver", "dagsterDaemon"):
        yield name, VALUES[name]["podSecurityContext"], [VALUES[name]]
    yield CODE["name"], CODE["podSecurityContext"], [CODE]


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_manifest_is_valid_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, SCHEMA_VERSION, strict=True)


def test_job_of_a_run_is_valid_kubernetes(run_job: dict[str, Any]) -> None:
    kubernetes_validate.validate(run_job, SCHEMA_VERSION, strict=True)

    spec = run_job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (run_job["spec"]["backoffLimit"], run_job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)
    assert {"secretRef": {"name": "twap-loader"}} in container["envFrom"]
    assert container["resources"] == CODE["resources"]
    assert spec["terminationGracePeriodSeconds"] == 60


def test_every_pod_is_restricted(run_job: dict[str, Any]) -> None:
    for name, pod, containers in pods(run_job):
        assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]["type"]) == (True, 10001, "RuntimeDefault")
        for container in containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name


def test_image_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    (transformed,) = load("kustomization.yaml")[0]["images"]

    images = [VALUES["dagsterWebserver"]["image"], VALUES["dagsterDaemon"]["image"], CODE["image"]]
    assert {(image["repository"], image["tag"]) for image in images} == {(IMAGE, version)}
    assert (transformed["name"], transformed["newTag"]) == (IMAGE, version)


def test_chart_version_is_that_of_the_locked_dagster() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    (line,) = [line for line in lock.splitlines() if line.startswith("dagster==")]

    assert f"version {line.split()[0].removeprefix('dagster==')}:" in (FOLDER / "values.yaml").read_text("utf-8")


def test_secrets_have_the_names_and_variables_that_are_used() -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    job, deployment = VALUES["extraManifests"][0], load("api.yaml")[0]
    used = {
        reference["secretRef"]["name"]
        for manifest in (job, deployment)
        for container in manifest["spec"]["template"]["spec"]["containers"]
        for reference in container["envFrom"]
    }
    used |= {secret["name"] for secret in CODE["envSecrets"]} | {VALUES["global"]["postgresqlSecretName"]}

    assert used == set(SECRETS)
    assert set(SECRETS[VALUES["global"]["postgresqlSecretName"]]) == {"postgresql-password"}
    assert {variable for secret in SECRETS.values() for variable in secret} <= aliases | {"postgresql-password"}
    assert {variable["name"] for variable in CODE["env"]} <= aliases | {"AWS_REGION"}


def test_commands_and_probes_exist() -> None:
    job, deployment = VALUES["extraManifests"][0], load("api.yaml")[0]
    paths = set(create_app(Settings()).openapi()["paths"])

    for manifest in (job, deployment):
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            program, name, *arguments = container["args"]
            command = cli.get_command(cli.make_context("twap-pipeline", ["--help"], resilient_parsing=True), name)
            assert program == "twap-pipeline"
            assert command is not None
            command.make_context(name, arguments).close()
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container.get(probe, {"httpGet": {"path": "/healthz"}})["httpGet"]["path"] in paths


def test_network_policies_open_the_ports_of_the_services() -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in load("network-policy.yaml")}
    ports = {name: spec["ingress"][0]["ports"][0]["port"] for name, spec in policies.items() if "ingress" in spec}
    (container,) = load("api.yaml")[0]["spec"]["template"]["spec"]["containers"]

    assert policies["twap-deny-ingress"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert ports == {
        "twap-code-server": CODE["port"],
        "twap-webserver": VALUES["dagsterWebserver"]["service"]["port"],
        "twap-api": container["ports"][0]["containerPort"],
    }


def test_storage_and_limits_avoid_the_defaults_of_the_chart() -> None:
    """Each default breaks this deployment; the comments in values.yaml contain the reasons."""
    coordinator = VALUES["dagsterDaemon"].get("runCoordinator", {})
    concurrency = VALUES["concurrency"]

    assert VALUES["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    assert "maxConcurrentRuns" not in str(coordinator)
    assert concurrency["enabled"]
    assert concurrency["pools"]["defaultLimit"] >= concurrency["runs"]["maxConcurrentRuns"]
    assert VALUES["dagster-user-deployments"]["includeInstance"]
    assert VALUES["migrate"] == {"enabled": False}
    assert "_" not in CODE["name"]
