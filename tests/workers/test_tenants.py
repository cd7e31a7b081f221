"""Workers serve every tenant, and tell none what another has asked: the same question has the same answer, found
anew."""

from models.base import Json
from models.tables import Certification
from tests.workers.answers import done, results, said, truth
from tests.workers.harness import EXAMPLES, Service

ASKED: Json = {"kind": "smoothing", "sigma": 0.25, "n": 1000}
TELLING = {"reused", "answered_by", "other_noises"}


def test_what_one_tenant_asked_is_found_anew_for_another(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    first = service.certify(*digits, 2, **ASKED)
    wider = service.certify(*digits, 2, **ASKED | {"sigma": 0.5})
    done(service, first)
    done(service, wider)
    of_other = (
        service.known_model(EXAMPLES / "digits.onnx", tenant="other"),
        service.known_dataset(EXAMPLES / "digits.npz", tenant="other"),
    )
    job = service.certify(*of_other, 2, **ASKED)
    done(service, job)
    assert service.get(Certification, job).tenant == "other"
    assert said(service, job) == said(service, first) == truth(2, 1000)
    details = [row.detail for row in results(service, job)]
    assert [{key: detail[key] for key in TELLING & detail.keys()} for detail in details] == [{"reused": 0}] * 2
    assert "other_noises" not in service.get(Certification, job).summary

    again, its = (service.certify(*ids, 2, **ASKED) for ids in (digits, of_other))
    for asked, answered_by in ((again, first), (its, job)):
        done(service, asked)
        assert [row.detail["answered_by"] for row in results(service, asked)] == [answered_by] * 2
    assert service.get(Certification, again).summary["other_noises"]["inputs"] == 2
    assert "other_noises" not in service.get(Certification, its).summary
