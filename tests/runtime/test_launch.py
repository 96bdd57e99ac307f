"""The launcher: checks everything first, starts the engine the plan describes, hands signals on, reports readiness."""

import json
import signal

import pytest

from runtime.engine.document import BadDocument, parse
from runtime.engine.launch import WrongVersion, _check_version, command
from sizing.plan import PodResources
from sizing.serving.launch import launch_document
from tests.runtime.conftest import wait_for
from tests.support.plans import large_serving_plan, serving_plan


def launch(plan=None):
    return parse(json.dumps(launch_document(plan or serving_plan())))


def option(line, flag):
    return line[line.index(flag) + 1]


def test_the_engine_is_started_with_the_plans_flags_and_the_stores_weights():
    plan = serving_plan()
    line = command(launch(plan), "weights")
    assert line[:3] == ["vllm", "serve", f"s3://weights/models/{plan.model}/{plan.revision}"]
    assert tuple(line[-len(plan.engine_args) :]) == plan.engine_args
    assert option(line, "--served-model-name") == "chat"
    assert option(line, "--shutdown-timeout") == "60"
    assert option(line, "--load-format") == "runai_streamer"


def test_weights_are_read_in_parallel_and_shared_among_ranks_only_with_several():
    def extra(plan):
        return json.loads(option(command(launch(plan), "b"), "--model-loader-extra-config"))

    assert extra(serving_plan()) == {"concurrency": 4, "distributed": False}
    assert extra(large_serving_plan()) == {"concurrency": 33, "distributed": True}
    assert extra(large_serving_plan(reads_once=False)) == {"concurrency": 33, "distributed": False}


def test_the_buffers_of_all_ranks_are_half_of_what_the_pod_has_beside_shared_memory_and_caches():
    plan = large_serving_plan(engine={"mm_processor_cache_gib": 1.0})
    assert plan.resources.memory_gib - plan.resources.shm_gib - 2 == 334
    assert launch(plan).weights.memory_limit_bytes == min(40 * 10**9, 334 * 2**30 // 2 // 4)
    small = PodResources(gpus=4, cpu=6.0, memory_gib=32.0, shm_gib=8, ephemeral_gib=20)
    assert launch(large_serving_plan(resources=small)).weights.memory_limit_bytes == 3 * 2**30


def test_a_load_format_of_the_plan_wins():
    line = command(launch(serving_plan(engine_args=("--load-format", "dummy"))), "b")
    assert line.count("--load-format") == 1
    assert option(line, "--load-format") == "dummy"
    assert "--model-loader-extra-config" not in line


@pytest.mark.parametrize("flag", ["--api-key", "--host=0.0.0.0", "--port", "--model"])
def test_a_flag_that_decides_who_reaches_the_engine_is_refused(flag):
    with pytest.raises(BadDocument, match="which only the launcher sets"):
        launch(serving_plan(engine_args=(flag, "x")))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema", 2, "schema 2; limit: 1; hint: deploy the image of the same release"),
        ("schema", "1", "schema is '1', not int"),
        ("name", "a b", "name is 'a b'; limit: letters"),
        ("weights.prefix", "models/../x", "weights.prefix is 'models/../x'"),
        ("weights.concurrency", -1, "weights.concurrency is -1; limit: 0 or more"),
        ("weights.distributed", 1, "weights.distributed is 1, not bool"),
        ("engine.args", ["--x", 1], r"engine.args\[1\] is 1, not a string"),
        ("drain.grace_period_s", 75, "grace_period_s is 75; limit: above 15 \\+ 60"),
        ("drain.pre_stop_s", None, "drain.pre_stop_s is None, not int"),
    ],
)
def test_a_document_that_cannot_be_meant_is_refused_by_place(path, value, said):
    document = launch_document(serving_plan())
    *folders, leaf = path.split(".")
    place = document
    for folder in folders:
        place = place[folder]
    place[leaf] = value
    with pytest.raises(BadDocument, match=said):
        parse(json.dumps(document))


def test_a_missing_key_is_named():
    document = launch_document(serving_plan())
    del document["drain"]
    with pytest.raises(BadDocument, match=r"drain\.pre_stop_s is missing"):
        parse(json.dumps(document))


def test_text_that_is_not_json_is_refused_with_its_line():
    with pytest.raises(BadDocument, match=r"not JSON, .* in line 2"):
        parse("{\n nonsense")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("VLLM_API_KEY", "", "VLLM_API_KEY: is empty; an engine without a key is not started"),
        ("TONNAGE_BUCKET", "a/b", "TONNAGE_BUCKET: 'a/b' is not a bucket's name"),
        ("TONNAGE_LAUNCH", "/nowhere/launch.json", "cannot be read at /nowhere/launch.json, FileNotFoundError"),
        ("PATH", "/nowhere", "vllm: not in the image"),
    ],
)
def test_an_environment_that_cannot_work_ends_with_two_and_one_line(pod, variable, value, said):
    pod.env[variable] = value
    done = pod.run("launch")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, "one line, no traceback"
    assert not pod.log.exists(), "the engine was not started"


@pytest.mark.parametrize(
    ("planned", "installed", "fits"),
    [
        ("0.32.0", "0.32.0", True),
        ("0.32.0", "0.32.1+cu129", True),
        ("0.32.0", "0.32.0.dev7", True),
        ("0.14.1", "0.14.0", False),
        ("0.32.0", "0.33.0", False),
        ("0.32.0", "1.32.0", False),
        ("0.32.0", "dev", False),
    ],
)
def test_an_image_with_another_vllm_than_planned_is_refused(planned, installed, fits):
    if fits:
        _check_version(planned, installed)
        return
    with pytest.raises(WrongVersion, match=f"^vllm: the image has {installed}, the stack was planned for {planned}; h"):
        _check_version(planned, installed)


def test_an_image_with_another_vllm_ends_with_a_code_of_its_own_and_one_line(pod):
    pod.has_vllm("0.11.0")
    done = pod.run("launch")
    assert (done.returncode, done.stdout) == (72, "")
    assert done.stderr.startswith("vllm: the image has 0.11.0, the stack was planned for ")
    assert done.stderr.endswith("; exit code 72\n")
    assert done.stderr.count("\n") == 1
    assert not pod.log.exists(), "the engine was not started"


def test_a_replica_is_ready_after_its_warm_up_and_leaves_with_its_engine(pod):
    with pod.running() as launcher:
        wait_for(pod.marker().exists)
        asked = [each for each in pod.requests() if each.startswith("/v1/completions")]
        assert [json.loads(each.partition(" ")[2])["model"] for each in asked] == ["chat"] * 3
        assert pod.run("ready").returncode == 0
        drained = pod.run("drain")
        assert drained.returncode == 0
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=10) == 0
    assert not pod.marker().exists()
    assert "a-test-key" not in " ".join(pod.engine()["argv"]), "keys are in no process list"
    assert pod.engine()["env"]["RUNAI_STREAMER_CONCURRENCY"] == "4"


def test_the_exit_code_of_the_engine_is_the_launchers(pod):
    pod.env["FAKE_EXIT"] = "7"
    with pod.running() as launcher:
        wait_for(pod.log.exists)
        wait_for(lambda: "/health " in pod.requests())
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=10) == 7


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("0", 70, "engine: ended by itself with 0, nobody asked; hint: the engine's log above says why"),
        ("1", 1, "engine: ended by itself with 1, nobody asked; hint: the engine's log above says why"),
        ("2", 2, "engine: refused its command line; hint: correct the engine's flags in the stack file"),
        ("-9", 137, "engine: killed by SIGKILL; hint: often out of memory, see the pod's last state and its limit"),
        ("-11", 139, "engine: ended by signal 11"),
    ],
)
def test_an_engine_that_ends_though_nobody_asked_never_ends_the_launcher_with_success(pod, end, code, said):
    pod.env["FAKE_END"] = end
    done = pod.run("launch")
    assert (done.returncode, done.stderr) == (code, f"{said}; exit code {code}\n")


def test_an_engine_that_is_asked_before_it_listens_ends_in_order(pod):
    pod.env["FAKE_START"] = "30"
    with pod.running() as launcher:
        wait_for(pod.log.exists)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=10) == 0
        assert launcher.stderr.read() == "engine: ended as asked; exit code 0\n"


@pytest.mark.parametrize("code", ["500", "503"])
def test_an_engine_that_answers_the_warm_up_with_an_error_ends_the_launcher_and_is_never_ready(pod, code):
    pod.env["FAKE_PROMPT"] = code
    done = pod.run("launch")
    assert done.returncode == 71
    assert not pod.marker().exists()
    said = done.stderr.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"warm-up: a prompt of 1 words was answered with HTTP {code}")
    assert said[0].endswith("hint: the engine's log above says why; exit code 71")
    assert ("EngineCore" in said[0]) == (code == "500"), "the engine's own words"
    assert "warm-up" not in "".join(each for each in said if each.startswith("{")), "no line that says: done"


@pytest.mark.parametrize("code", ["400", "404", "501"])
def test_an_engine_that_refuses_a_completion_because_it_only_embeds_serves(pod, code):
    pod.env["FAKE_PROMPT"] = code
    with pod.running() as launcher:
        wait_for(pod.marker().exists)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=10) == 0
        assert f"was answered with HTTP {code}" in json.loads(launcher.stderr.readline())["note"]


def test_an_engine_that_ignores_its_end_after_a_failed_warm_up_is_killed(pod):
    pod.env |= {"FAKE_PROMPT": "500", "FAKE_DEAF": "1"}
    pod.sets("launch", LEAVE_S=0.5)
    assert pod.run("launch").returncode == 71


def test_a_warm_up_that_runs_out_of_time_lets_the_replica_serve(pod):
    pod.env["FAKE_PROMPT"] = "slow"
    pod.document["warm_up"]["budget_s"] = 0.1
    pod.sets("warm_up", LEAST_S=0.5)
    with pod.running() as launcher:
        wait_for(pod.marker().exists)
        assert pod.run("ready").returncode == 0
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=10) == 0
        assert json.loads(launcher.stderr.readline())["note"] == "given up, out of time"


def test_a_prompt_whose_connection_breaks_is_sent_again(pod):
    pod.env["FAKE_PROMPT"] = "reset"
    with pod.running():
        wait_for(pod.marker().exists)
    assert len([each for each in pod.requests() if each.startswith("/v1/completions")]) == 4


def test_a_warm_up_that_is_cut_by_a_signal_marks_nothing_and_is_no_failure(pod):
    pod.env["FAKE_PROMPT"] = "slow"
    with pod.running() as launcher:
        wait_for(lambda: any(each.startswith("/v1/completions") for each in pod.requests()))
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=10) == 0
        assert not pod.marker().exists()


def test_a_replica_that_does_not_serve_yet_is_not_ready(pod):
    done = pod.run("ready")
    assert (done.returncode, done.stdout) == (1, "not warmed up yet\n")
    pod.marker().touch()
    done = pod.run("ready", "--path", "/v1/models")
    assert done.returncode == 1
    assert done.stdout.startswith("/v1/models does not answer")


def test_requests_in_flight_are_those_running_and_waiting():
    from runtime.engine.engine_api import in_flight

    text = '# HELP x\nvllm:num_requests_running{a="b c"} 3.0\nvllm:num_requests_waiting 2\nvllm:other 9\n'
    assert in_flight(text) == 5
