"""The examples for KubeRay: they parse, have only fields that there are, and run what there is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import prefjax

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "howto" / "cluster"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))

TEXT, NUMBER, FLAG = str, int, bool
CONTAINER = {
    "name": TEXT,
    "image": TEXT,
    "env": [
        {"name": TEXT, "value": TEXT, "valueFrom": {"secretKeyRef": {"name": TEXT, "key": TEXT}}}
    ],
    "resources": {"limits": {str: TEXT}, "requests": {str: TEXT}},
    "volumeMounts": [{"name": TEXT, "mountPath": TEXT}],
}
POD = {
    "spec": {
        "nodeSelector": {str: TEXT},
        "containers": [CONTAINER],
        "volumes": [{"name": TEXT, "persistentVolumeClaim": {"claimName": TEXT}}],
    }
}
CLUSTER = {
    "rayVersion": TEXT,
    "enableInTreeAutoscaling": FLAG,
    "autoscalerOptions": {"upscalingMode": TEXT, "idleTimeoutSeconds": NUMBER},
    "headGroupSpec": {"rayStartParams": {str: TEXT}, "template": POD},
    "workerGroupSpecs": [
        {
            "groupName": TEXT,
            "replicas": NUMBER,
            "minReplicas": NUMBER,
            "maxReplicas": NUMBER,
            "numOfHosts": NUMBER,
            "rayStartParams": {str: TEXT},
            "template": POD,
        }
    ],
}
SPEC = {
    "RayJob": {
        "entrypoint": TEXT,
        "shutdownAfterJobFinishes": FLAG,
        "ttlSecondsAfterFinished": NUMBER,
        "backoffLimit": NUMBER,
        "rayClusterSpec": CLUSTER,
    },
    "RayService": {"serveConfigV2": TEXT, "rayClusterConfig": CLUSTER},
}
"""Fields of KubeRay's API ray.io/v1 that the examples may use, with their types."""


def problems(value, schema, place=""):
    """Where a value is not as a schema of nested types has it."""
    if isinstance(schema, type):
        if type(value) is not schema:
            yield f"{place} is {value!r}"
    elif isinstance(schema, list):
        if not isinstance(value, list):
            yield f"{place} is no list"
            return
        for number, one in enumerate(value):
            yield from problems(one, schema[0], f"{place}[{number}]")
    elif not isinstance(value, dict):
        yield f"{place} is no mapping"
    else:
        for name, one in value.items():
            if name not in schema and str not in schema:
                yield f"{place}.{name} is unknown"
            else:
                yield from problems(one, schema.get(name, schema.get(str)), f"{place}.{name}")


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def test_fields_are_those_of_the_api(example):
    schema = {
        "apiVersion": TEXT,
        "kind": TEXT,
        "metadata": {"name": TEXT},
        "spec": SPEC[example["kind"]],
    }
    assert example["apiVersion"] == "ray.io/v1"
    assert list(problems(example, schema)) == []


def test_versions_and_sizes_fit(example):
    spec = example["spec"]
    cluster = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    assert cluster["rayVersion"] == pinned
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        (container,) = pod["template"]["spec"]["containers"]
        assert f":{prefjax.__version__}" in container["image"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["template"]["spec"]["volumes"]}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


def test_jobs_ask_for_what_their_machines_have():
    for path in EXAMPLES:
        spec = yaml.safe_load(path.read_text())["spec"]
        if "entrypoint" not in spec:
            continue
        words = shlex.split(spec["entrypoint"])
        options = dict(zip(words, [*words[1:], ""], strict=True))
        (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        if "--tpu" in options:
            selected = group["template"]["spec"]["nodeSelector"]
            topology = options["--tpu"].partition(":")[2]
            assert selected["cloud.google.com/gke-tpu-topology"] == topology
            rows, columns = map(int, topology.split("x"))
            assert group["numOfHosts"] * int(limits["google.com/tpu"]) == rows * columns
        else:
            per_worker = int(options["--gpus-per-worker"]), int(options["--cpus-per-worker"])
            have = int(limits["nvidia.com/gpu"]), int(limits["cpu"])
            fit = min(h // p for h, p in zip(have, per_worker, strict=True))
            assert fit * group["maxReplicas"] == int(options["--workers"])


@pytest.mark.slow
def test_jobs_use_options_that_there_are():
    done = subprocess.run(
        [sys.executable, "-m", "prefjax.train", "--help"], capture_output=True, text=True
    )
    for path in EXAMPLES:
        entrypoint = yaml.safe_load(path.read_text())["spec"].get("entrypoint", "")
        assert entrypoint.startswith("python -m prefjax.train") or not entrypoint
        for option in re.findall(r"--[a-z-]+", entrypoint):
            assert f"{option} " in done.stdout.replace("]", " "), f"{path.name}: {option}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what Ray's own modules warn of
def test_the_service_is_one_that_ray_serve_takes():
    schema = pytest.importorskip("ray.serve.schema", reason="ray is not installed")
    spec = yaml.safe_load((FOLDER / "serve.yaml").read_text())["spec"]
    found = schema.ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    (application,) = found.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
    assert set(application.args) <= {"model", "people", "replicas", "gpus_per_replica", "config"}


def test_the_schema_sees_what_is_wrong():
    wrong = {"entrypoint": 3, "entry": "x", "rayClusterSpec": {"workerGroupSpecs": {}}}
    assert list(problems(wrong, SPEC["RayJob"], "spec")) == [
        "spec.entrypoint is 3",
        "spec.entry is unknown",
        "spec.rayClusterSpec.workerGroupSpecs is no list",
    ]
