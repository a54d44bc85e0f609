"""Images that tasks describe in place of naming one: defaults, replacements, contradictions."""

from __future__ import annotations

from coopery.testing import Project

TOML = """
    [defaults]
    image = { sources = ["shared.py"] }

    [task.a]
    function = "shared:say"
    outputs.out = "a.txt"

    [task.b]
    image = { env = { WHO = "b" }, sources = ["shared.py"] }
    function = "shared:say"
    outputs.out = "b.txt"

    [task.c]
    image = { sources = ["shared.py"], env = { WHO = "b" } }
    function = "shared:say"
    outputs.out = "c.txt"

    [task.d]
    image = { sources = ["other.py"] }
    function = "other:say"
    outputs.out = "d.txt"
"""
PYTHON = """
    from coopery import Image, defaults, task

    defaults(image=Image(sources=["shared.py"]))
    task("shared:say", name="a", outputs={"out": "a.txt"})
    for name in "bc":
        own = Image(sources=["shared.py"], env={"WHO": "b"})
        task("shared:say", name=name, image=own, outputs={"out": f"{name}.txt"})
        del own
    task("other:say", name="d", image=Image(sources=["other.py"]), outputs={"out": "d.txt"})
"""
SHARED = "import os\ndef say(out): out.write_text(os.environ.get('WHO', 'nobody'))\n"


CODE = "import cask, sys; print(cask.version, file=open(sys.argv[1], 'w'))"


def written(project: Project) -> None:
    project.write("shared.py", SHARED)
    project.write("other.py", SHARED.replace("nobody", "somebody"))


def test_a_tasks_own_image_replaces_the_default(project: Project) -> None:
    written(project)
    project.write("recipe.toml", TOML)
    steps = project.run()
    assert [project.read(f"{name}.txt") for name in "abcd"] == ["nobody", "b", "b", "somebody"]
    listed = {
        task["name"]: task["image"] for task in project.coopery("list", "--json").json["tasks"]
    }
    assert listed == {"a": "defaults", "b": "b", "c": "b", "d": "d"}
    project.write("recipe2.py", PYTHON)
    again = project.run("-f", "recipe2.py")
    for name in "abcd":
        assert again[name]["key"] == steps[name]["key"] and again[name]["cached"]


def test_equal_images_are_installed_once_and_others_may_contradict(project: Project) -> None:
    wheels = {"1": _wheel(project, "1"), "2": _wheel(project, "2")}
    lines = "".join(
        f"""
        [task.t{number}]
        image = {{ wheels = ["{wheels[version]}"] }}
        command = ["python", "-c", "{CODE}", "{{outputs.o}}"]
        outputs.o = "{number}.txt"
        """
        for number, version in enumerate(["1", "2", "1", "2", "1"])
    )
    project.write("recipe.toml", lines)
    steps = project.run()
    assert [project.read(f"{number}.txt").strip() for number in range(5)] == [
        "1",
        "2",
        "1",
        "2",
        "1",
    ]
    assert sum(name.startswith("environment ") for name in steps) == 2


def test_what_is_wrong_in_one_is_told_where_it_stands(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [image.b]
        python = "3.11"

        [task.b]
        command = ["true"]

        [task.b.image]
        pakages = ["x"]
        python = 3.11
        sources = ["gone.py"]
        """,
    )
    done = project.coopery("run")
    assert done.exit_code == 2
    assert "recipe.toml:8 (task.b.image.pakages)" in done.stderr
    assert "recipe.toml:9 (task.b.image.python)" in done.stderr


def test_a_missing_source_of_one_is_told_where_it_stands(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.b]
        command = ["true"]
        image.sources = ["gone.py"]
        """,
    )
    done = project.coopery("run")
    assert done.exit_code == 2 and "recipe.toml:3 (task.b.image.sources[0])" in done.stderr


def _wheel(project: Project, version: str) -> str:
    import base64
    import hashlib
    import zipfile

    name = f"cask-{version}-py3-none-any.whl"
    info = f"cask-{version}.dist-info"
    files = {
        "cask.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: cask\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(project.root / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += f"{path},sha256={digest.decode().rstrip('=')},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return name
