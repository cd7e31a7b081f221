"""What Celery is told of each kind of broker, by its URL alone."""

import pytest

from models.bell import celery_app
from models.settings import Settings


@pytest.mark.parametrize("url", ["redis://h/1", "rediss://h/1", "redis+socket:///tmp/s", "sentinel://h:26379/0"])
def test_redis_acknowledges_late(url: str) -> None:
    conf = celery_app(Settings(broker_url=url)).conf
    assert (conf.broker_url, conf.task_acks_late, conf.task_queues) == (url, True, None)
    assert conf.broker_transport_options["visibility_timeout"] == 86_400


def test_sentinels_have_their_master_in_the_url() -> None:
    url = "sentinel://:secret@one:26379;sentinel://two:26379/3"
    for query, master, sentinel in (
        ("", "mymaster", None),
        ("?master_name=ours&sentinel_password=p%40ss", "ours", {"password": "p@ss"}),
    ):
        conf = celery_app(Settings(broker_url=url + query)).conf
        options = conf.broker_transport_options
        assert (conf.broker_url, options["master_name"], options.get("sentinel_kwargs")) == (url, master, sentinel)


def test_rabbitmq_acknowledges_early_on_queues_of_its_own() -> None:
    conf = celery_app(Settings(broker_url="amqps://u:p@h/v")).conf
    assert (conf.broker_url, conf.task_acks_late) == ("amqps://u:p@h/v", False)
    assert [(queue.name, queue.durable) for queue in conf.task_queues] == [("certify", True), ("intake", True)]
    assert all(queue.queue_arguments["x-queue-type"] == "classic" for queue in conf.task_queues)
    assert "visibility_timeout" not in conf.broker_transport_options


def test_another_broker_is_refused() -> None:
    with pytest.raises(ValueError, match="amqp://USER"):
        Settings(broker_url="sqs://")
