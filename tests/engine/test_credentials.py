"""What looks like a credential, and what only resembles one. No token here was ever valid."""

from __future__ import annotations

import base64
import hashlib
import random
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from coopery import credentials
from coopery.credentials import kind_of
from coopery.errors import show_key
from coopery.model import Defaults, Image, Recipe, Task

# Put together here, so that no scanner of repositories takes them for real ones.
SOME = "aB3" * 40
TOKENS = {
    "an AWS access key": "AKIA" + "ABCDEFGHIJKLMNO2",
    "a GitHub token": "ghp_" + SOME[:36],
    "a GitLab token": "glpat-" + SOME[:20],
    "a Google key": "AIza" + SOME[:35],
    "a Hugging Face token": "hf_" + "aBcDeF" * 6,
    "a JSON web token": "eyJ" + SOME[:17] + ".eyJ" + SOME[:20] + "." + SOME[:30],
    "an npm token": "npm_" + SOME[:36],
    "a PyPI token": "pypi-" + "AgEIcHlwaS5vcmc" + SOME[:80],
    "a SendGrid key": "SG." + SOME[:22] + "." + SOME[:43],
    "a Slack token": "xoxb-" + "123456789012-" + SOME[:20],
    "a Stripe key": "sk_live_" + SOME[:24],
    "an API key": "sk-proj-" + SOME[:48],
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA" + SOME,
    "a URL with a password": "postgresql://me:s3cret@db.example/x",
    "an authorization header": "Authorization: Bearer " + SOME[:20],
    "an Azure storage key": "AccountName=a;AccountKey=" + SOME[:86] + "==",
    "a Databricks token": "dapi" + "0123456789abcdef" * 2,
}


@pytest.mark.parametrize("kind", TOKENS)
def test_the_formats_of_tokens(kind: str) -> None:
    token = TOKENS[kind]
    assert kind_of(token) == kind
    assert kind_of(f"curl -H 'X-Key: {token}' https://host/path") == kind
    literals = [(("task", "a"), "", "some text"), (("task", "b"), "", token)]
    (problem,) = credentials.found_in(lambda: literals)
    assert problem.warning and problem.place.key == ("task", "b")
    assert token not in repr(problem) and token not in str(problem)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "swordfish"),
        ("DB_PASSWORD", "hunter2"),
        ("dbPassword", "hunter2"),
        ("PGPASSWORD", "hunter2"),
        ("DB_PASS", "hunter2xy"),
        ("MYSQL_PWD", "hunter2xy"),
        ("token", "a1b2c3d4e5f6"),
        ("client-secret", "wJalrXUtnFEMI/K7MDENG"),
        ("api_key", str(uuid.UUID(int=77))),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG"),
    ],
)
def test_a_name_tells(name: str, value: str) -> None:
    assert kind_of(value, name) is not None
    assert kind_of(value, "label") is None


@pytest.mark.parametrize(
    "text",
    [
        "export PASSWORD=swordfish; make",
        "tool --password=swordfish in out",
        "tool --password swordfish in out",
        "tool -Dpassword=swordfish1",
        "login -u me --token=a1b2c3d4e5f6 x",
        "python -c \"password = 'swordfish'\"",
        "host=db user=me password=hunter22x",
        '{"user": "me", "password": "swordfish"}',
        "MYSQL_PWD=hunter22x mysql -u me",
        "redis://:hunter2@host/0",
    ],
)
def test_an_assignment_inside_a_longer_text(text: str) -> None:
    assert kind_of(text) is not None


_NOISE = random.Random(7).randbytes(60_000)
ORDINARY = [
    ("commit", hashlib.sha1(b"x").hexdigest()),
    ("run", str(uuid.UUID(int=2**100 + 7))),
    ("digest", hashlib.sha256(b"x").hexdigest()),
    ("base", f"registry/python@sha256:{hashlib.sha256(b'x').hexdigest()}"),
    ("logo", "data:image/png;base64," + base64.b64encode(_NOISE).decode()),
    ("noise", base64.urlsafe_b64encode(_NOISE).decode()),
    ("noise", base64.b32encode(_NOISE).decode()),
    ("text", "It was the best of times, it was the worst of times. " * 400),
    ("code", "token = tokenizer.next()"),
    ("code", "token = tokens[3].strip()"),
    ("code", 'secret_name = "db"'),
    ("code", "password = os.environ['DB_PASSWORD']"),
    ("code", "connect(user=user, password=password)"),
    ("code", "def connect(password: str, token: Optional[str] = None) -> Session:"),
    ("code", "n_tokens=100000; sort_key=column_a1; primary_key: user_id2"),
    ("code", "passwords are kept hashed; the token is short"),
    ("secret_name", "database1"),
    ("password_file", "hunter22"),
    ("password_prompt", "Enter your password: "),
    ("token_type", "bearer"),
    ("pad_token", "<pad>"),
    ("pad_token", "[unused100]"),
    ("eos_token", "<|end_of_text_1|>"),
    ("token", "hello"),
    ("tokenizer", "bert-base-v2"),
    ("monkey", "capuchin123"),
    ("bypass", "section-12b"),
    ("publicKeyToken", "1fc8b3b9a1e18e3b"),
    ("password", ":****"),
    ("PWD", "/work/a1b2c3d4"),
    ("password", ""),
    ("password", "password"),
    ("password", "changeme"),
    ("password", "<password>"),
    ("password", "********"),
    ("password", "DB_PASSWORD"),
    ("password", "db_password"),
    ("password", "$DB_PASSWORD"),
    ("password", "${DB_PASSWORD}"),
    ("password", "$(cat file)"),
    ("password", "{params.password}"),
    ("password", "%(password)s"),
    ("password", "/run/secrets/db"),
    ("api_key", "MY_API_KEY_2"),
    ("api_key", "your-api-key-123"),
    ("access_token", "https://host/oauth2/token1"),
    ("command", 'tool --password "$PW" --token {params.token}'),
    ("command", "tool --password-file f1234567x --password-stdin"),
    ("command", "ssh me@host; git clone git@host:me/x.git"),
    ("url", "https://me@host/x"),
    ("url", "https://me:${PASSWORD}@host/x"),
    ("url", "https://me:password@host/x"),
    ("url", "http://mirror:8080/simple/a@1.2"),
    ("package", "scikit-learn"),
    ("branch", "sk-learn-estimators-with-quite-a-long-name-2"),
    ("model", "hf_models_with_a_rather_long_name_v2_and_more"),
    ("check", "-----BEGIN " + "PRIVATE KEY-----"),
]


@pytest.mark.parametrize(("name", "text"), ORDINARY)
def test_what_only_resembles_one(name: str, text: str) -> None:
    assert kind_of(text, name) is None
    assert credentials.found_in(lambda: [(("task", "a"), name, text)]) == []


def _recipe(**tables: object) -> Recipe:
    empty = Recipe(file=Path("/r/recipe.toml"), root=Path("/r"), images={}, tasks={})
    return replace(empty, **tables)  # type: ignore[arg-type]


def test_each_literal_of_a_recipe_is_told_at_its_key() -> None:
    secret = {"TOKEN": "a1b2c3d4e5"}
    task = Task(
        name="a",
        env={"DB_PASSWORD": "swordfish", **secret},
        params={"db": {"password": "hunter2", "port": 5}, "urls": ("x", "redis://:hunter2@h")},
        matrix={"token": ("a1b2c3d4e5", "plain")},
    )
    image = Image(name="i", env={"HF_TOKEN": TOKENS["a Hugging Face token"]})
    recipe = _recipe(tasks={"a": task}, images={"i": image}, defaults=Defaults(env=secret))
    found = credentials.check(recipe)
    assert sorted(show_key(p.place.key) for p in found) == [
        "defaults.env.TOKEN",  # and not once more at each task
        "image.i.env.HF_TOKEN",
        "task.a.env.DB_PASSWORD",
        "task.a.matrix.token[0]",
        "task.a.params.db.password",
        "task.a.params.urls[1]",
    ]
    assert all(p.warning and p.slug == "credential-literal" for p in found)


def test_a_table_whose_key_is_the_token_is_told_without_it() -> None:
    token = TOKENS["a GitHub token"]
    task = Task(name="a", params={"known": {token: {"password": "swordfish"}}})
    found = credentials.check(_recipe(tasks={"a": task}))
    assert {show_key(p.place.key) for p in found} == {"task.a.params.known"}
    assert token not in str(found)


def test_many_tasks_take_next_to_nothing() -> None:
    env = {"MODE": "fast", "OMP_NUM_THREADS": "1"}
    tasks = {
        f"t{i}": Task(name=f"t{i}", env=env, params={"n": i, "x": f"v{i}"}) for i in range(5000)
    }
    recipe = _recipe(tasks=tasks)
    start = time.process_time()
    assert credentials.check(recipe) == []
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "part", ["token=", "sk-", "eyJ", "xoxb-", "a://:", "--token ", "password: "]
)
def test_no_text_takes_long(part: str) -> None:
    start = time.process_time()
    kind_of(part * (1_000_000 // len(part)), "x")
    assert time.process_time() - start < 5
