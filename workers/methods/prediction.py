"""Prediction: of every input of a shard the class of g, or abstention. No radius."""

from radii.methods import Prediction
from radii.smoothing import prediction_test
from radii.smoothing.procedure import Procedure, requests
from workers.methods import Work
from workers.runner.batching import Said
from workers.runner.heartbeat import phase
from workers.runner.loaded_model import inputs, result
from workers.runner.sampled_input import SampledInput
from workers.runner.smoothed_shard import count_part, runs_of, said


def compute(method: Prediction, work: Work) -> None:
    """Every input that has no result yet."""
    if work.order.part is not None:
        with phase("sampling", work.model.device):
            count_part(method, work, runs_of(method, work))
        return
    _, ys = inputs(work.order, work.model.graph)

    def procedure(task: SampledInput) -> Procedure[Said]:
        counts = (yield requests("predict", method.n)).tolist()
        answer = prediction_test(counts, alpha=task.alpha, tail_mass=task.law["tail_mass"])
        return answer.prediction, None, {"counts": counts, "n": sum(counts), "p_value": answer.p_value}

    with phase("sampling", work.model.device):
        for task, (prediction, _, detail) in said(method, work, runs_of(method, work), procedure):
            work.emit(result(task.index, ys, prediction, None, prediction is None, detail))
