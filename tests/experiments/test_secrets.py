from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.secrets import hide_in_values, hide_secrets, print_exception

SECRET = "hunter2-Zq9"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{SECRET}@db/runs",
        f"postgresql+psycopg2://me:a@b/{SECRET}@db:5432/runs?sslmode=require",
        f"mysql://db/runs?user=me&password={SECRET}",
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BX%7D%3BUID%3Dme%3BPWD%3D{SECRET}%3B",
        f"https://{SECRET}@server/mlflow",
        f"https://me:{SECRET}@server/mlflow?x=1#/experiments",
        f"http://me:a?b#{SECRET}@server",
        f"https://server/artifacts?X-Amz-Security-Token={SECRET}&x=1",
        f"git+https://{SECRET}@example.org/repo",
        f"trainer: {{logger: {{api_key: {SECRET}}}}}",
        f"  password: {SECRET}\n  user: me",
        f"wandb_token='{SECRET}'",
        f'{{"secret": "{SECRET}"}}',
        f"Authorization: Bearer {SECRET}",
        f"{{'Authorization': 'Basic {SECRET}', 'Accept': 'json'}}",
        f'+    PASSWORD = "{SECRET}"',
        f"export AWS_SECRET_ACCESS_KEY={SECRET}",
        f"command line (trainer.logger.init_args.api_key={SECRET}): unknown key",
    ],
)
def test_every_form_is_hidden(text: str):
    hidden = hide_secrets(text)
    assert SECRET not in hidden
    assert "***" in hidden
    assert hide_secrets(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me@work/mlruns/mlflow.db",
        "sqlite:////data/mlruns/mlflow.db?timeout=20",
        "MLflow UI on http://127.0.0.1:5000/#/experiments?workflowType=machine_learning",
        "https://example.org/a/@b",
        "    token = page.token",
        "token: str | None = None",
        "password: null",
        "max_tokens: 5",
        "s3://bucket/mlflow",
        "postgresql://me@db/runs",
        "spatial: 3",
    ],
)
def test_what_tells_nothing_stays(text: str):
    assert hide_secrets(text) == text


@pytest.mark.parametrize(
    "name", ["SECRET", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "DB_PASS", "X_API_KEY"]
)
def test_values_of_the_environment_are_hidden_wherever_they_stand(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, SECRET)
    assert hide_secrets(f"data.root: /data/{SECRET}/cxr") == "data.root: /data/***/cxr"


def test_passwords_of_urls_in_the_environment_are_hidden_as_they_are_meant_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:p%40ssw0rd@db/runs")
    assert hide_secrets("user me, p@ssw0rd or p%40ssw0rd") == "user me, *** or ***"


def test_ordinary_variables_hide_nothing(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"PWD": "/data/cxr", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "USE_TOKEN": "false"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://mlflow:mlflow@db/mlflow")
    text = "/data/cxr/mlruns/mlflow.db: false, 1"
    assert hide_secrets(text) == text


PLAIN = st.text() | st.integers() | st.none()


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_hidden_once_stays_as_it_is(value: object):
    hidden = hide_in_values(value)
    assert hide_in_values(hidden) == hidden


def test_an_exception_that_nobody_caught(capsys: pytest.CaptureFixture[str]):
    try:
        raise ValueError(f"http://me:{SECRET}@server: no route")
    except ValueError as error:
        print_exception(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "http://me:***@server: no route" in said
    assert SECRET not in said.replace(Path(__file__).read_text(), "")
