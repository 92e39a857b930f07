"""Targets, priors and cells with all their settings resolved, and their ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradleak.federated.options import ClientOptions
from gradleak.priors.options import VaeOptions
from gradleak.workflow.config import ATTACKS, NO_DATASET
from gradleak.workflow.identity import identify, spec_of
from gradleak.workflow.recorded_run import Recorded
from gradleak.workflow.seed_blocks import block_name

COUNTS = ("draws", "draws_per_job")  # settings of a target that are, like seeds, no part of its id


@dataclass(frozen=True)
class Target:
    """The source of an update. recorded: the updates of a recorded run, one for each draw; else empty."""

    id: str
    options: Any
    spec: dict[str, Any]
    recorded: tuple[Recorded, ...] = ()

    @property
    def draws(self) -> int:
        return len(self.recorded) or self.options.draws

    @property
    def has_truth(self) -> bool:
        return isinstance(self.options, ClientOptions) or bool(getattr(self.options, "truth", None))

    @property
    def has_public(self) -> bool:
        """Whether there are public images of the same kind."""
        return self.options.dataset != NO_DATASET

    @property
    def user_claims(self) -> dict[str, Any]:
        """What the user says about the update, for the mapping to check; nothing about a simulated one."""
        if isinstance(self.options, ClientOptions):
            return {"samples": None, "sign": "auto", "scale": "auto", "batch_norm": "auto"}
        stated = ("samples", "sign", "scale", "batch_norm", "loss")
        claims = {key: getattr(self.options, key) for key in stated}
        shape = self.options.input_shape
        return claims if shape is None else claims | {"input_shape": list(shape)}

    @property
    def preprocess(self) -> dict[str, Any] | None:
        """What the client did to its examples outside of the model that it shared."""
        if isinstance(self.options, ClientOptions) or self.options.preprocess is None:
            return None  # a simulated client shares the model with the layer in it
        return self.options.preprocess.model_dump(mode="json", exclude_none=True)

    def draw_blocks(self, draws: list[int]) -> list[str]:
        """The blocks of draws that hold ``draws``; one job simulates or maps one block."""
        return sorted({self._block(draw) for draw in draws})

    def _block(self, draw: int) -> str:
        if self.recorded:  # each has weights of its own
            return block_name([draw])
        if not isinstance(self.options, ClientOptions):
            return block_name([0])
        size = self.options.draws_per_job
        first = draw // size * size
        return block_name(range(first, first + size))


@dataclass(frozen=True)
class Prior:
    """A VAE, trained on public data."""

    id: str
    options: VaeOptions
    spec: dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One point of the grid without its seed."""

    id: str
    options: Any
    spec: dict[str, Any]  # of the attack alone, defaults left out
    target: Target
    target_name: str
    prior: Prior | None
    members: Cell | None = (
        None  # the span cell whose accepted images a label cell counts in, or DLG holds fixed
    )

    @property
    def attack(self) -> str:
        return self.options.attack

    @property
    def stage(self) -> str:
        """The folder of results/ that holds the cell's results."""
        return "labels" if self.attack == "labels" else "inversions"

    def draws(self, seeds: list[int]) -> list[int]:
        """The draw that each seed attacks."""
        return [seed % self.target.draws for seed in seeds]

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value, defaults included, as one flat mapping."""
        flat = {key: value for key, value in self.options.model_dump(mode="json").items() if key != "attack"}
        if "members" in flat:
            flat["members"] = self.members.in_words if self.members else "none"
        settings = self.target.options.model_dump(mode="json", exclude=set(COUNTS))
        if self.target.options.preprocess:
            settings["preprocess"] = self.target.options.preprocess.in_words  # tables have no mappings
        if settings.get("input_shape"):  # as one word, since tables have no lists
            settings["input_shape"] = "×".join(map(str, settings["input_shape"]))
        for key in ("rounds", "clients"):
            if isinstance(settings.get(key), list):
                settings[key] = ", ".join(map(str, settings[key]))
        return flat | {f"target.{key}": value for key, value in settings.items()}

    @property
    def in_words(self) -> str:
        """The attack and what differs from the defaults: ``span starts=16``."""
        said = {**self.spec, **({"prior": self.options.prior} if self.prior else {})}
        parts = (f"{key}={value}" for key, value in sorted(said.items()) if key != "attack")
        return " ".join([self.attack, *parts])

    @property
    def label_cell(self) -> Cell | None:
        """The label cell that gives the class counts of a cell with ``labels: recovered``."""
        if getattr(self.options, "labels", None) != "recovered":
            return None
        members = self.options.members if self.members else None
        options = ATTACKS["labels"](method=self.options.label_method, members=members)
        return make_cell(options, self.target, self.target_name, None, self.members)


def make_cell(
    options: Any, target: Target, target_name: str, prior: Prior | None, members: Cell | None = None
) -> Cell:
    """The cell with its id. The id depends on what a target or prior is, not on its name in the config."""
    spec = spec_of(options, *(["prior"] if prior else []), *(["members"] if members else []))
    identity: dict[str, Any] = {
        "cell": spec,
        "target": target.spec,
        **({"prior": prior.spec} if prior else {}),
    }
    if members:
        identity["members"] = members.id
        spec = {**spec, "members": {k: v for k, v in members.spec.items() if k != "attack"}}
    return Cell(identify(identity), options, spec, target, target_name, prior, members)
