from models.bootstrap import check_secret
from models.settings import Settings
from tests.workers.harness import Service


def test_a_worker_with_another_noise_secret_does_not_start(service: Service) -> None:
    with service.database.write() as session:
        check_secret(session, service.settings)
    other = Settings(noise_secret="0f" * 32).noise_secret
    service.settings = service.settings.model_copy(update={"noise_secret": other})
    assert service.start().wait(timeout=30) == 1
