"""A legacy Flower app of three clients under SecAgg+ itself, with the recorder around its strategy.

    python secagg_app.py DATA OUT [exact]

DATA, OUT: as of flower_app.py. Each client has one image of each round. OUT/runs/mine: what the recorder
wrote. OUT/own/round-000R/client-mean.npz: the mean of what the clients computed. exact: a finer quantisation
than the default. Server and clients run in one process, and all messages are those of Flower.
"""

import copy
import os
import sys
from pathlib import Path

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_HOME"] = str(Path(sys.argv[2]) / "home")

import numpy as np
import torch
from flower_app import DATA, OUT, SERVER, InProcess, executed, network
from flwr.app import Context, RecordDict
from flwr.client import ClientApp, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.supercore.task_identity import TaskIdentity

NODES = [11, 12, 2**63 + 5]
IMAGE = {11: (0, 0), 12: (0, 1), 2**63 + 5: (1, 0)}  # client of DATA, place of the image
ROUNDS = 2
EXACT = "exact" in sys.argv[3:]
own: dict[int, list[list[np.ndarray]]] = {}


class Client(NumPyClient):
    """One step of SGD on the one image of the round."""

    def __init__(self, node: int):
        self.node, self.model = node, network()

    def get_parameters(self, config: dict) -> list[np.ndarray]:
        return [value.detach().numpy() for value in self.model.state_dict().values()]

    def fit(self, parameters: list[np.ndarray], config: dict) -> tuple:
        state = self.model.state_dict()
        self.model.load_state_dict(
            {k: torch.tensor(w, dtype=torch.float32) for k, w in zip(state, parameters, strict=True)}
        )
        before = [value.copy() for value in self.get_parameters({})]
        number = len(own.setdefault(self.node, [])) + 1
        client, place = IMAGE[self.node]
        x, y = (torch.tensor(DATA[f"{name}_{client}"][number - 1][[place]]) for name in "xy")
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.model(x), y).backward()
        optimizer.step()
        after = self.get_parameters({})
        own[self.node].append([b.astype(np.float64) - a for a, b in zip(before, after, strict=True)])
        return after, 1, {}


clients = {node: Client(node) for node in NODES}
app = ClientApp(client_fn=lambda context: clients[context.node_id].to_client(), mods=[secaggplus_mod])


class Run:
    run_id = 1


class Secure(InProcess):
    """Three clients in this process, whose state lasts, as the protocol needs."""

    def __init__(self) -> None:
        self.contexts = {
            node: Context(run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={})
            for node in NODES
        }

    @property
    def run(self) -> Run:
        return Run()

    def get_node_ids(self) -> list[int]:
        return NODES

    def send_and_receive(self, messages, *, timeout=None) -> list:
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            TaskIdentity._node_id = node
            received = copy.deepcopy(message)  # over a network each client has its own
            replies.append(app(received, self.contexts[node]))
        TaskIdentity._node_id = 1
        return replies


def main() -> None:
    TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = 1, 1, 1
    lines = SERVER.replace("_train=", "_fit=").replace('"samples": 2', '"samples": 1')
    strategy = executed(lines, FedAvg=FedAvg)["strategy"]
    context = LegacyContext(
        context=Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={}),
        config=ServerConfig(num_rounds=ROUNDS),
        strategy=strategy,
    )
    finer = {"max_weight": 2.0, "quantization_range": 2**28, "clipping_range": 2.0} if EXACT else {}
    fit = SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2, **finer)
    DefaultWorkflow(fit_workflow=fit)(Secure(), context)
    for number in range(ROUNDS):
        folder = OUT / "own" / f"round-{number + 1:04d}"
        folder.mkdir(parents=True)
        means = [np.mean(parts, axis=0) for parts in zip(*(own[n][number] for n in NODES), strict=True)]
        np.savez(folder / "client-mean.npz", *means)


if __name__ == "__main__":
    main()
