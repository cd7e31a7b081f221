"""The sweeper brings every lost bell back, and never floods a queue."""

from models.bell import celery_app
from tests import factories
from tests.workers.harness import Service, on_both_brokers
from workers.sweeper import sweep, waiting

pytestmark = on_both_brokers


def test_an_empty_queue_is_rung_full_and_a_waiting_one_left_alone(service: Service, digits: tuple[str, str]) -> None:
    app = celery_app(service.settings)
    with app.connection_for_write() as connection:

        def messages() -> tuple[int, int]:
            return tuple(waiting(connection, queue) for queue in ("certify", "intake"))  # type: ignore[return-value]

        job = service.certify(*digits, 3, kind="smoothing", sigma=0.25, n=200_000)
        assert messages() == (1, 0)
        service.forget_messages()
        sweep(app, service.database, {"certify", "intake"})
        assert messages() == (1, 0)
        service.forget_messages()
        with service.database.write() as session:
            factories.cut(session, job)
        assert messages() == (3, 0)
        for _ in range(3):
            sweep(app, service.database, {"certify", "intake"})
        assert messages() == (3, 0)
        service.forget_messages()
        sweep(app, service.database, {"intake"})  # a worker looks after its own queues
        assert messages() == (0, 0)
        for _ in range(3):
            sweep(app, service.database, {"certify", "intake"})
        assert messages() == (3, 0)
