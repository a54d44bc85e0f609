"""Tasks in containers of a real engine: what they see, may do and use, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project
from coopery_docker.notes import HOME, STEP, home_id, runs_noted

HEAD = '[defaults]\nimage = "i"\n[image.i]\n'
SECONDS = 60


def run(project: Project, text: str, *arguments: str) -> dict[str, Any]:
    project.write("recipe.toml", HEAD + text)
    return project.run("-r", "docker", *arguments)


def fail(project: Project, text: str, *, code: int = 1) -> dict[str, Any]:
    """The problem that the task `a` fails with."""
    project.write("recipe.toml", HEAD + text)
    answer = project.coopery("run", "-r", "docker", "--json")
    assert answer.exit_code == code, answer.stderr
    assert "Traceback" not in answer.stderr
    step = next(s for s in answer.json["steps"] if s["step"] == "a")
    (found,) = step["problems"]
    return {**found, "facts": step["facts"]}


def left(engine: Any, project: Project) -> list[str]:
    """The containers of a project's home."""
    label = f"{HOME}={home_id(project.home)}"
    return [c["Id"] for c in engine.containers(all=True, filters={"label": label})]


def test_a_container_has_no_powers(contained: Project) -> None:
    text = """
    [task.a]
    command = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; cat /proc/1/comm; id -u"
    """
    log = Path(run(contained, text)["a"]["log"]).read_text()
    assert "CapEff:\t0000000000000000" in log and "CapBnd:\t0000000000000000" in log
    assert "NoNewPrivs:\t1" in log and "-init" in log and f"\n{os.getuid()}\n" in log


def test_what_a_recipe_loosens_is_keyed_and_shown(contained: Project) -> None:
    """And what is not allowed is said before anything runs."""
    text = "[task.a]\ncommand = 'cat /proc/self/status; ls /sys/class/net'\n"
    first = run(contained, text)["a"]
    loose = "container = { network = 'none', capabilities = ['CHOWN'], user = '0:0' }\n"
    second = run(contained, text + loose)["a"]
    assert first["key"] != second["key"]
    log = Path(second["log"]).read_text()
    assert "CapEff:\t0000000000000001" in log and "Uid:\t0\t" in log and log.endswith("lo\n")
    assert "container network none" in second["notes"] and not first["notes"]
    answer = contained.coopery("run", "-r", "local")
    assert answer.slugs == ("no-container",) and "-r docker" in answer.told("no-container")
    contained.write("recipe.toml", HEAD + text + "container = { network = '../x' }\n")
    assert contained.coopery("run", "-r", "docker").slugs == ("wrong-value",)


@pytest.mark.parametrize("user", ["", ", user = '65534:0'"])
def test_capabilities_are_roots_alone(contained: Project, user: str) -> None:
    text = f"[task.a]\ncommand = 'true'\ncontainer = {{ capabilities = ['CHOWN']{user} }}\n"
    contained.write("recipe.toml", HEAD + text)
    answer = contained.coopery("run", "-r", "docker")
    assert (answer.exit_code, answer.slugs) == (2, ("wrong-value",)), answer.stderr
    assert "recipe.toml:6 (task.a.container.capabilities)" in answer.stderr
    assert 'user = "0:0"' in answer.told("wrong-value")


def test_a_privileged_user_that_is_not_root_is_warned(contained: Project) -> None:
    text = "[task.a]\ncommand = 'grep CapEff /proc/self/status'\n"
    text += "container = { privileged = true, user = '65534:65534' }\n"
    contained.write("recipe.toml", HEAD + text)
    answer = contained.coopery("run", "-r", "docker", "--json")
    log = next(s["log"] for s in answer.json["steps"] if s["step"] == "a")
    assert "CapEff:\t0000000000000000" in Path(log).read_text()
    assert "gives the user 65534:65534 no capabilities" in answer.stderr
    assert 'user = "0:0"' in answer.stderr


def test_a_task_without_an_image_is_told(contained: Project) -> None:
    contained.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    answer = contained.coopery("run", "-r", "docker")
    assert answer.exit_code == 2 and answer.slugs == ("no-image",)
    assert "[defaults]" in answer.told("no-image")


@pytest.mark.parametrize("place", ["/usr/bin/x", "/x", "/coopery/in/x", "/work/x", "/proc/a/x"])
def test_a_mount_that_hides_something_is_refused(contained: Project, place: str) -> None:
    text = f"[task.a]\ncommand = 'true'\noutputs.o = {{ mount = '{place}' }}\n"
    contained.write("recipe.toml", HEAD + text)
    assert contained.coopery("run", "-r", "docker").slugs == ("bad-mount",)


def test_limits_are_enforced_and_named(contained: Project) -> None:
    text = """
    [task.a]
    command = ["python3", "-c", "x = b'x' * (200 << 20)"]
    resources.memory = "64Mi"
    """
    found = fail(contained, text)
    assert found["slug"] == "out-of-memory"
    assert "killed at its memory limit of 64 MiB, having held " in found["message"]
    answer = contained.coopery("run", "-r", "docker", "--exit-code", "task")
    assert answer.exit_code == 137
    assert "  a: failed, exit code 137, out of memory, held " in contained.coopery("status").stdout
    assert found["facts"]["exit_code"] == 137
    steps = run(
        contained,
        """
        [task.a]
        command = '''
        cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2> /dev/null
        df -k /dev/shm
        '''
        resources = { cpu = 0.5, shm = "16Mi", memory = "256Mi" }
        """,
    )
    log = Path(steps["a"]["log"]).read_text()
    assert "50000" in log and "16384" in log


def test_a_gpu_that_is_not_there_is_told(contained: Project, engine: Any) -> None:
    if any("nvidia" in name for name in engine.info().get("Runtimes", {})):
        pytest.skip("this engine has GPUs")
    contained.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\nresources.gpu = 1\n")
    assert contained.coopery("run", "-r", "docker").told("never-fits")
    # A machine with a card, and an engine that was not told of it.
    contained.plugin("card", "from coopery import resources\nresources._gpus = lambda: 1.0\n")
    answer = contained.coopery("run", "-r", "docker")
    assert answer.exit_code == 3 and answer.told("no-gpu"), answer.stderr
    assert left(engine, contained) == []


def test_a_command_that_is_not_there(contained: Project) -> None:
    found = fail(contained, "[task.a]\ncommand = ['no-such-command']\n")
    assert found["slug"] == "command-not-found" and "no-such-command" in found["message"]
    found = fail(contained, "[task.a]\ncommand = ['/etc/passwd']\n")
    assert found["slug"] == "command-not-found"
    # A shell's own 127 is the task's.
    found = fail(contained, "[task.a]\ncommand = 'no-such-command'\n")
    assert found["slug"] == "task-failed" and "127" in found["message"]


WRITES = """
[task.tree]
container = { user = "USER" }
outputs = { o = "build/tree/", p = "build/plain" }
command = ["sh", "-c", '''umask 077; cd $COOPERY_OUTPUT_O; mkdir -p sub/deep; echo y > sub/deep/y;
ln -s deep/y sub/link; ln -s /etc/passwd $HOME/link; mkdir $HOME/x; echo > $HOME/x/x;
echo p > $COOPERY_OUTPUT_P; END''']
"""


def mine(folder: Path, user: int = -1) -> bool:
    owner = os.geteuid() if user < 0 else user
    return all(path.lstat().st_uid == owner for path in folder.rglob("*"))


@pytest.mark.parametrize("user", ["4321:4321", "0:0"])
def test_what_another_user_wrote_is_the_callers_afterwards(
    contained: Project, engine: Any, user: str
) -> None:
    """With folders that nobody else may enter; the file that a link leads to is nobody's affair."""
    owner = Path("/etc/passwd").stat().st_uid
    text = WRITES.replace("USER", user)
    run(contained, text.replace("END", "true"))
    tree = contained.root / "build" / "tree"
    assert (tree / "sub/deep/y").read_text() == "y\n" and (tree / "sub/link").is_symlink()
    assert mine(contained.root) and mine(contained.home)
    assert Path("/etc/passwd").stat().st_uid == owner
    contained.write("recipe.toml", HEAD + text.replace("END", "exit 3"))
    answer = contained.coopery("run", "-r", "docker")
    assert answer.told("task-failed") and "not be tidied" not in answer.stderr
    assert list((contained.home / "scratch").iterdir()) == [] and left(engine, contained) == []
    timed = text.replace("END", "sleep 60") + 'timeout = "1s"\n'
    contained.write("recipe.toml", HEAD + timed)
    assert contained.coopery("run", "-r", "docker").told("task-timeout")
    assert list((contained.home / "scratch").iterdir()) == [] and left(engine, contained) == []


def test_what_cannot_be_given_back_is_told(contained: Project) -> None:
    """By an image without `chown`."""
    text = WRITES.replace("USER", "4321").replace("END", "true")
    contained.write("recipe.toml", HEAD + text)
    env = {"HANDMADE_RUN": "mkdir -p /work && chmod 0777 /work && rm $(command -v chown)"}
    answer = contained.coopery("run", "-r", "docker", env=env)
    assert answer.exit_code == 1 and "chown" in answer.told("not-given-back")


def start_as_nobody(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """Call the command as a user who may speak to the engine, and owns nothing but `place`.

    It may read everything, since this Python may lie where only its owner looks; it can remove and
    change nothing of others.
    """
    group = str(Path("/var/run/docker.sock").stat().st_gid)
    who = ["setpriv", "--reuid", "65534", "--regid", "65534", "--groups", group]
    who += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    environ = {
        **os.environ,
        "HOME": str(place),
        "COOPERY_HOME": str(place / "home"),
        "PYTHONPATH": str(place / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        [*who, sys.executable, *arguments],
        cwd=place / "project",
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def as_nobody(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start_as_nobody(place, *arguments)
    stdout, stderr = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.mark.parametrize("user", ["4321:4321", "0:0"])
def test_a_caller_without_powers_gets_its_outputs(
    contained: Project, sweep: Callable[[Path], None], user: str
) -> None:
    if os.geteuid() != 0 or not Path("/var/run/docker.sock").exists():
        pytest.skip("only root can become somebody else, and the engine is elsewhere")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        text = HEAD + WRITES.replace("USER", user)
        contained.write("recipe.toml", text.replace("END", "true"))
        shutil.copytree(contained.root, place / "project")
        shutil.copytree(contained.site, place / "site")
        sweep(place / "home")
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534)
        command = ("-m", "coopery", "run", "-r", "docker")
        done = as_nobody(place, *command)
        assert done.returncode == 0, done.stderr
        assert (place / "project/build/tree/sub/deep/y").read_text() == "y\n"
        assert mine(place, 65534)
        (place / "project/recipe.toml").write_text(text.replace("END", "exit 3"))
        done = as_nobody(place, *command)
        assert "[task-failed]" in done.stderr and "tidied" not in done.stderr
        assert list((place / "home/scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("container", "slug", "code", "parts"),
    [
        ("network = 'no-such-net'", "bad-container", 1, ["network 'no-such-net'", "create"]),
        ("user = 'nosuch'", "bad-container", 1, ["no user 'nosuch'", "number"]),
        ("user = '1:nosuch'", "bad-container", 1, ["no group 'nosuch'", "number"]),
        ("capabilities = ['SYS_PTRAC']", "wrong-value", 2, ["did you mean 'SYS_PTRACE'?"]),
        ("capabilities = ['CAP_CHOWN', 'ps']", "wrong-value", 2, ["'ps' is no capability"]),
    ],
)
def test_what_no_engine_knows_is_the_recipes_mistake(
    contained: Project, engine: Any, container: str, slug: str, code: int, parts: list[str]
) -> None:
    text = f"[task.a]\ncommand = 'true'\ncontainer = {{ {container} }}\n"
    contained.write("recipe.toml", HEAD + text)
    answer = contained.coopery("run", "-r", "docker")
    assert answer.exit_code == code, answer.stderr
    told = answer.told(slug)
    assert all(part in told for part in parts), told
    assert left(engine, contained) == []


def test_a_limit_that_no_container_can_have(contained: Project) -> None:
    found = fail(contained, "[task.a]\ncommand = 'true'\nresources.memory = '1Mi'\n")
    assert found["slug"] == "bad-container"
    assert "limit of memory" in found["message"] and "6MB" in found["message"]


def test_the_signal_that_killed_a_command_is_named(contained: Project) -> None:
    """Which the container's init process tells of as a shell does."""
    found = fail(contained, "[task.a]\ncommand = ['sh', '-c', 'kill -SEGV $$']\n")
    assert found["slug"] == "task-failed" and found["facts"]["exit_code"] == 139
    assert "exit code 139, as after SIGSEGV" in found["message"]
    found = fail(contained, "[task.a]\ncommand = ['sh', '-c', 'exit 200']\n")
    assert "exit code 200: " in found["message"]


def test_a_timeout_kills_what_does_not_listen(contained: Project, engine: Any) -> None:
    text = """
    [task.a]
    command = "trap 'echo told' TERM; while :; do sleep 0.1; done"
    timeout = "1s"
    """
    found = fail(contained, text)
    assert found["slug"] == "task-timeout" and left(engine, contained) == []
    assert runs_noted(contained.home) == []


def test_control_characters_arrive_as_they_are(contained: Project) -> None:
    text = "[task.a]\ncommand = ['printf', '\\033[31mred\\033[0m\\r50%%\\000\\377\\n']\n"
    log = Path(run(contained, text)["a"]["log"]).read_bytes()
    assert log == b"\x1b[31mred\x1b[0m\r50%\x00\xff\n"


def test_outputs_are_the_callers_whatever_the_task_does_to_them(contained: Project) -> None:
    text = """
    [task.a]
    command = "mkdir {outputs.o} && echo x > {outputs.o}/x && chmod 0500 {outputs.o}"
    outputs.o = "build/o"
    """
    run(contained, text)
    found = (contained.root / "build/o/x").stat()
    assert found.st_uid == os.getuid() and contained.read("build/o/x") == "x\n"


# -- crashes --------------------------------------------------------------------------------------


def start(project: Project, text: str) -> subprocess.Popen[bytes]:
    project.write("recipe.toml", HEAD + text)
    return subprocess.Popen(
        [sys.executable, "-m", "coopery", "run", "-r", "docker"],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_until(true: Any, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def running(engine: Any, project: Project) -> list[str]:
    """The running containers of the task `a`."""
    labels = [f"{HOME}={home_id(project.home)}", f"{STEP}=a"]
    return [c["Id"] for c in engine.containers(filters={"label": labels})]


def kill_in_the_middle(project: Project, engine: Any) -> str:
    """Kill a run while its container runs; the container's id."""
    process = start(project, "[task.a]\ncommand = 'sleep 300'\n")
    wait_until(lambda: running(engine, project), "the start of the container")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (ident,) = left(engine, project)
    return ident


def test_what_a_killed_run_left_goes_before_the_next(contained: Project, engine: Any) -> None:
    kill_in_the_middle(contained, engine)
    assert runs_noted(contained.home)
    contained.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\n")
    answer = contained.coopery("run", "-r", "docker")
    assert answer.exit_code == 0 and "removed container" in answer.stderr, answer.stderr
    assert left(engine, contained) == [] and runs_noted(contained.home) == []


@pytest.mark.parametrize("command", [("run", "-r", "docker", "other"), ("doctor", "--mend")])
def test_what_a_killed_run_wrote_as_another_user_goes_too(
    contained: Project, sweep: Callable[[Path], None], engine: Any, command: tuple[str, ...]
) -> None:
    if os.geteuid() != 0 or not Path("/var/run/docker.sock").exists():
        pytest.skip("only root can become somebody else, and the engine is elsewhere")
    text = WRITES.replace("USER", "0:0").replace("END", "touch $HOME/done; sleep 300")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        contained.write("recipe.toml", HEAD + text + "[task.other]\ncommand = 'true'\n")
        shutil.copytree(contained.root, place / "project")
        shutil.copytree(contained.site, place / "site")
        sweep(place / "home")
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534)
        call = ("-m", "coopery", "run", "-r", "docker", "tree")
        process = start_as_nobody(place, *call)
        wait_until(lambda: list(place.glob("home/scratch/*/*/work/home/done")), "its writing")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not mine(place, 65534)
        done = as_nobody(place, "-m", "coopery", *command)
        assert done.returncode == 0 and "removed container" in done.stdout + done.stderr, done
        assert mine(place, 65534) and list((place / "home/scratch").iterdir()) == []


def test_the_next_run_may_be_without_an_engine(contained: Project, engine: Any) -> None:
    """The note stays until an engine can be asked."""
    kill_in_the_middle(contained, engine)
    contained.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    away = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    answer = contained.coopery("run", env=away)
    assert answer.exit_code == 0 and runs_noted(contained.home)
    assert contained.coopery("run").exit_code == 0
    assert left(engine, contained) == [] and runs_noted(contained.home) == []


def test_doctor_lists_and_mends(contained: Project, engine: Any) -> None:
    ident = kill_in_the_middle(contained, engine)
    told = contained.coopery("doctor").stdout
    assert f"container {ident[:12]} of a of a run that was killed is left" in told
    assert left(engine, contained) == [ident]
    told = contained.coopery("doctor", "--mend").stdout
    assert f"removed container {ident[:12]}" in told and left(engine, contained) == []


def test_a_living_run_loses_nothing_to_others(contained: Project, engine: Any) -> None:
    text = "[task.a]\ncommand = 'sleep 300'\n"
    process = start(contained, text)
    try:
        wait_until(lambda: running(engine, contained), "the start of the container")
        before = running(engine, contained)
        assert contained.coopery("doctor", "--mend").exit_code == 0
        contained.write("other.toml", HEAD + "[task.b]\ncommand = 'true'\n")
        assert contained.coopery("run", "-r", "docker", "-f", "other.toml").exit_code == 0
        assert set(before) <= set(left(engine, contained))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(SECONDS)
    assert process.returncode == 130 and left(engine, contained) == []


def test_what_is_remembered_asks_no_engine(contained: Project) -> None:
    run(contained, "[task.a]\ncommand = 'echo x > {outputs.o}'\noutputs.o = 'o'\n")
    # The hand-made plugin keeps no lock, so that the base must be told without an engine.
    away = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    answer = contained.coopery("run", "-r", "docker", "--json", env=away)
    if answer.exit_code == 0:
        assert all(step["cached"] for step in answer.json["steps"])
    else:
        assert answer.slugs == ("no-engine",) and answer.exit_code == 3


def test_a_detached_run_is_stopped_with_its_container(contained: Project, engine: Any) -> None:
    text = "[task.a]\ncommand = 'echo begin; sleep 300'\n"
    contained.write("recipe.toml", HEAD + text)
    answer = contained.coopery("run", "-r", "docker", "--detach", "--output", "run.json")
    assert answer.exit_code == 0, answer.stderr
    deadline = time.monotonic() + SECONDS
    while "begin" not in contained.coopery("logs", "run.json").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stopped = contained.coopery("stop", "run.json", "--now", "--json").json
    assert (stopped["state"], stopped["exit_code"]) == ("interrupted", 130)
    assert left(engine, contained) == []
