"""Simulated clients as the Problem of an attack, for benchmarks of attacks without the workflow."""

import numpy as np

from gradleak.attacks.problem import Problem
from gradleak.datasets.builtin import BUILTIN
from gradleak.datasets.pools import split
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float
from gradleak.mapping.alignment import layer_index


def problem_of(
    dataset: str, model_name: str, epochs: float, examples: int, draws: range
) -> tuple[Problem, np.ndarray]:
    """The updates of ``draws``, as differences of float32 weights after one step, and their private examples
    [T, N, H, W, C].

    epochs: of pretraining. examples: N. The counts of the classes are the true ones.
    """
    pools = split(dataset, BUILTIN[dataset].load(None).examples)
    options = ClientOptions(
        dataset=dataset,
        model=model_name,
        batch_size=examples,
        pretrain_epochs=epochs,
        alpha=None,
        draws=draws.stop,
    )
    model = client.global_model(options, pools["pretraining"])
    made = client.simulate(options, model, pools["private"], list(draws))
    rate = np.float32(options.learning_rate)
    public = pools["public"]
    problem = Problem(
        model=model,
        gradients=[-np.stack(parts) / rate for parts in zip(*(one.delta for one in made), strict=True)],
        layer=layer_index(model),
        samples=examples,
        seeds=list(draws),
        counts=np.stack([np.bincount(one.private.y, minlength=public.classes) for one in made]),
        public=to_float(public.x),
        public_labels=public.y,
        rounding=FLOAT32_ROUNDING / options.learning_rate,
        steps=1,
    )
    return problem, np.stack([to_float(one.private.x) for one in made])
