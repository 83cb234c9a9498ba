"""Offloading, through a software device: layers go where they are sent, and the report says where they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.llama.devices import list_devices
from tests.models import CHAT, need
from tests.rpc_device import add_device, rpc_library, start_server

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What a process with the device saw; devices can't be taken back, so this process never gets one."""
    need(CHAT)
    library = rpc_library()
    if library is None:
        pytest.skip("this build of llama.cpp has no RPC backend; `make offload` builds one")
    server, port = start_server(library)
    try:
        log = tmp_path_factory.mktemp("offload") / "log"
        with log.open("wb") as errors:
            done = subprocess.run(
                [sys.executable, "-m", "tests.test_offload", str(library), str(port)],
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=240,
                check=False,
                env={**os.environ, "PYTHONWARNINGS": "error"},
            )
        assert done.returncode == 0, log.read_text("utf-8", "replace")[-2000:]
    finally:
        server.kill()
        server.wait()
    result: dict[str, dict[str, object]] = json.loads(done.stdout)
    return result


def test_the_device_is_listed_with_its_memory(outcomes: dict[str, dict[str, object]]) -> None:
    kinds = outcomes["devices"]
    assert kinds["RPC0"] == "gpu"
    assert kinds["CPU"] == "cpu"


@pytest.mark.parametrize(("asked", "layers"), [("0", 0), ("5", 5), ("-1", 31)])
def test_the_report_says_how_many_layers_are_on_the_device(
    outcomes: dict[str, dict[str, object]], asked: str, layers: int
) -> None:
    assert outcomes[asked]["n_gpu_layers"] == layers
    if layers:
        assert "RPC0" in str(outcomes[asked]["buffers"])


def test_the_answer_is_the_same_wherever_the_layers_are(outcomes: dict[str, dict[str, object]]) -> None:
    answers = {str(outcomes[asked]["ids"]) for asked in ("0", "5", "-1")}
    assert len(answers) == 1


def test_a_share_of_the_layers_can_be_given_to_each_device(outcomes: dict[str, dict[str, object]]) -> None:
    assert outcomes["split"]["n_gpu_layers"] == 31


def test_an_unknown_device_is_named_with_those_there_are(outcomes: dict[str, dict[str, object]]) -> None:
    assert "RPC0" in str(outcomes["unknown"]["hint"])


def test_without_a_device_everything_is_on_the_cpu() -> None:
    assert [d.kind for d in list_devices() if d.name == "CPU"] == ["cpu"]


def main(library: str, port: str) -> None:
    """Load the model with different numbers of layers on the device, and say what came of it."""
    from localllm.engine.local import LocalEngine
    from localllm.engine.protocol import EngineSpec, Request, Sampling, TokenEvent
    from localllm.errors import ModelLoadFailed
    from localllm.events import Message, Role
    from localllm.llama.model import Model

    need(CHAT)
    add_device(Path(library), int(port))
    result: dict[str, dict[str, object]] = {"devices": {d.name: d.kind for d in list_devices()}}
    request = Request((Message(Role.USER, "Why is the sky blue?"),), max_tokens=8, sampling=Sampling(temperature=0))
    for name, layers, split in (("0", 0, ()), ("5", 5, ()), ("-1", -1, ()), ("split", -1, (1.0,))):
        spec = EngineSpec(CHAT, n_ctx=256, n_threads=1, gpu_layers=layers, tensor_split=split, speculation="none")
        engine = LocalEngine(spec)
        ids = [t for e in engine.stream(request) if isinstance(e, TokenEvent) for t in e.token_ids]
        placement = engine._model.placement
        result[name] = {"n_gpu_layers": engine.info.n_gpu_layers, "ids": ids, "buffers": str(placement.buffers)}
        engine.close()
    try:
        Model(CHAT, devices=["CUDA7"])
    except ModelLoadFailed as error:
        result["unknown"] = {"hint": error.hint}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:3])
