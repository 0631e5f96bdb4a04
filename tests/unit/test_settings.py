"""Settings from the environment."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from graph_svc.settings import GraphSettings
from meshkit.errors import FeedmeshError
from meshkit.issuer import Issuer
from meshkit.rpc.tls import Tls
from meshkit.settings import MeshSettings
from post_svc.settings import PostSettings
from timeline_svc.settings import TimelineSettings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder, without settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_DIR", "WORKER", "QUEUE_URL", "JWKS_FILE", "SERVICE_KEY", "PAGE_KEY", "REFLECTION", "SIGNUP"):
        monkeypatch.delenv(f"FEEDMESH_{name}", raising=False)


def test_the_defaults_are_safe() -> None:
    """Without any setting: loopback, no reflection, restricted sign-up, data under .feedmesh; and nothing is made yet."""
    graph, post = GraphSettings(), PostSettings()
    assert graph.graph_listen == "127.0.0.1:50051"
    assert post.post_listen == "127.0.0.1:50052"
    assert (graph.signup, graph.reflection) == ("restricted", False)
    assert graph.table_url == "sqlite:///.feedmesh/graph.db"
    assert post.table_url == "sqlite:///.feedmesh/posts.db"
    assert list(Path().iterdir()) == []


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables with the prefix FEEDMESH_ are taken; those of other services are ignored."""
    values = {"DATA_DIR": "/srv/x", "WORKER": "1023", "REFLECTION": "true", "SIGNUP": "open", "POST_LISTEN": "[::1]:1"}
    for name, value in values.items():
        monkeypatch.setenv(f"FEEDMESH_{name}", value)
    graph = GraphSettings()
    assert (graph.data_dir, graph.worker, graph.reflection, graph.signup) == (Path("/srv/x"), 1023, True, "open")
    assert graph.table_url == "sqlite:////srv/x/graph.db"
    monkeypatch.setenv("FEEDMESH_GRAPH_TABLE", "sqlite:////elsewhere.db")
    assert GraphSettings().table_url == "sqlite:////elsewhere.db"
    assert graph.listen("host:1").reflection
    assert PostSettings().post_listen == "[::1]:1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER", "-1"),
        ("WORKER", "1024"),
        ("WORKER", "one"),
        ("QUEUE_URL", "kafka://x"),
        ("QUEUE_URL", "amqp://"),
        ("QUEUE_URL", "memory://x"),
        ("MAX_CONNECTION_AGE", "0"),
        ("DRAIN_NOTICE", "-1"),
        ("DRAIN_NOTICE", "61"),
        ("MAX_CONCURRENT_CALLS", "0"),
        ("REFLECTION", "perhaps"),
        ("SIGNUP", "closed"),
    ],
)
def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value outside its range stops the start, and the error names the setting."""
    monkeypatch.setenv(f"FEEDMESH_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        GraphSettings()


@pytest.mark.parametrize("url", ["memory://", "amqp://guest:guest@broker:5672/", "amqps://broker/feed"])
def test_the_queue_is_chosen_by_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The queue in memory and RabbitMQ, with TLS and without, are taken."""
    monkeypatch.setenv("FEEDMESH_QUEUE_URL", url)
    assert GraphSettings().queue_url == url


@pytest.mark.parametrize("wrong", ["10.0.0.1", "graph:1,other:1"])
def test_addresses_of_services_are_checked(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """One name, or a list of IP addresses, each with a port; anything else stops the start."""
    monkeypatch.setenv("FEEDMESH_GRAPH_ADDRESS", "10.0.0.1:1,10.0.0.2:1")
    assert TimelineSettings().graph_address == "10.0.0.1:1,10.0.0.2:1"
    monkeypatch.setenv("FEEDMESH_GRAPH_ADDRESS", wrong)
    with pytest.raises(ValidationError, match="graph_address"):
        TimelineSettings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings' text nor the error about a wrong one shows keys, or passwords in URLs."""
    secret = "hunter2-" * 5
    for name in ("SERVICE_KEY", "PAGE_KEY"):
        monkeypatch.setenv(f"FEEDMESH_{name}", secret)
    monkeypatch.setenv("FEEDMESH_QUEUE_URL", f"amqp://feed:{secret}@broker/")
    monkeypatch.setenv("FEEDMESH_REDIS_URL", f"redis://:{secret}@cache/")
    assert secret not in repr(TimelineSettings()) + str(TimelineSettings())
    monkeypatch.setenv("FEEDMESH_QUEUE_URL", f"kafka://feed:{secret}@broker/")
    monkeypatch.setenv("FEEDMESH_SERVICE_KEY", "hunter2")
    with pytest.raises(ValidationError) as caught:
        TimelineSettings()
    assert "hunter2" not in str(caught.value)


def test_tls_is_for_servers_and_callers_alike(tmp_path: Path) -> None:
    """The three files and the name are what both sides get; without them there is no TLS."""
    given = {"tls_cert": tmp_path / "cert", "tls_key": tmp_path / "key", "tls_ca": tmp_path / "ca", "tls_name": "mesh"}
    mesh = MeshSettings.model_validate(given)
    assert mesh.tls() == mesh.listen("127.0.0.1:0").tls == Tls(tmp_path / "cert", tmp_path / "key", tmp_path / "ca", "mesh")
    assert MeshSettings().tls() is None


def test_settings_cannot_change() -> None:
    """Settings are read once and stay as they are."""
    with pytest.raises(ValidationError):
        MeshSettings().worker = 3


def test_services_on_one_folder_understand_each_other(tmp_path: Path) -> None:
    """Keys that were not given are made in the data folder, and are the same for every service and every start."""
    common = {"data_dir": tmp_path / "data"}
    graph, post = GraphSettings.model_validate(common), PostSettings.model_validate(common)
    assert post.service_tokens("post").verify(graph.service_tokens("graph").mint()).service == "graph"
    assert post.page_tokens().open("scope", graph.page_tokens().sign("scope", b"x")) == b"x"
    tokens = graph.user_tokens()
    assert tokens.verify(Issuer.load_or_create(post.keys_dir).user_token(7)).user_id == 7
    assert {file.name for file in graph.keys_dir.iterdir()} == {"service.key", "page.key", "issuer.pem", "jwks.json"}


def test_keys_that_are_given_are_used(tmp_path: Path) -> None:
    """Given keys count in every folder, nothing is made then, and whoever has others is refused."""
    keys = {"service_key": "s" * 32, "page_key": "p" * 32, "jwks_file": tmp_path / "jwks.json"}
    one = MeshSettings.model_validate(keys | {"data_dir": tmp_path / "one"})
    two = MeshSettings.model_validate(keys | {"data_dir": tmp_path / "two"})
    other = MeshSettings.model_validate(keys | {"data_dir": tmp_path / "two", "service_key": "o" * 32, "page_key": "o" * 32})
    one.user_tokens()
    minted, signed = one.service_tokens("graph").mint(), one.page_tokens().sign("scope", b"x")
    assert two.service_tokens("post").verify(minted).service == "graph"
    assert two.page_tokens().open("scope", signed) == b"x"
    with pytest.raises(FeedmeshError):
        other.service_tokens("post").verify(minted)
    with pytest.raises(FeedmeshError):
        other.page_tokens().open("scope", signed)
    assert list(tmp_path.iterdir()) == []


def test_issuer_and_audience_can_be_set(tmp_path: Path) -> None:
    """Tokens count only for the issuer and the audience of the settings."""
    folder = {"data_dir": tmp_path}
    ours = MeshSettings.model_validate(folder | {"token_issuer": "us", "token_audience": "here"})
    assert ours.user_tokens().verify(Issuer.load_or_create(ours.keys_dir, issuer="us", audience="here").user_token(7)).user_id == 7
    with pytest.raises(FeedmeshError):
        MeshSettings.model_validate(folder).user_tokens().verify(
            Issuer.load_or_create(ours.keys_dir, issuer="us", audience="here").user_token(7)
        )
