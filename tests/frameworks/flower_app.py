"""A Flower app of two clients in one process, with the recorder around its strategy.

    python flower_app.py DATA OUT API

DATA: x_<client> (rounds, n, 64) float32 and y_<client>. OUT/runs/mine, OUT/runs/mine-clients: what the
recorders wrote, by the lines of docs/how-to/audit-flower.md. OUT/own: what each client computed itself.
API: message, clipping or legacy.
"""

import os
import re
import shutil
import sys
from pathlib import Path

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_HOME"] = str(Path(sys.argv[2]) / "home")

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

DATA, OUT = np.load(sys.argv[1]), Path(sys.argv[2])
ROOT = Path(__file__).parents[2]
SERVER, CLIENT = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/how-to/audit-flower.md").read_text("utf-8"), re.M | re.S
)
CLIP = 0.01  # norm of an update, below those of the clients
NODES = [11, 2**63 + 5]  # Flower's ids have 64 bits


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 300), torch.nn.ReLU(), torch.nn.Linear(300, 10))


def trained(model: torch.nn.Module, node: int, round_number: int) -> dict[str, np.ndarray]:
    """One step of SGD on the client's images of this round; the delta is kept under OUT/own."""
    before = {key: value.clone().numpy() for key, value in model.state_dict().items()}
    place = NODES.index(node)
    x, y = (torch.tensor(DATA[f"{name}_{place}"][round_number - 1]) for name in "xy")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    after = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    own = {key: (after[key].astype(np.float64) - before[key]).astype(np.float32) for key in after}
    folder = OUT / "own" / f"round-{round_number:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"client-{node}.npz", **own)
    return after


def executed(lines: str, **names: object) -> dict:
    """The names after the lines of the page, with the recorder copied as the page says."""
    os.chdir(OUT)
    shutil.copy(ROOT / "scripts/gradleak/recorders/flower.py", OUT / "gradleak_flower.py")
    sys.path.insert(0, str(OUT))
    exec(lines, names)
    return names


META = executed(SERVER, FedAvg=FedAvg)["META"]
client = executed(CLIENT, ClientApp=ClientApp, META=META)["app"]


@client.train()
def train(message: Message, context: Context) -> Message:
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    trained(model, context.node_id, int(message.content["config"]["server-round"]))
    records = {
        "arrays": ArrayRecord(model.state_dict()),
        "metrics": MetricRecord({"num-examples": 500}),
    }
    return Message(RecordDict(records), reply_to=message)


class InProcess(Grid):
    """Both clients in this process."""

    def set_run(self, run_id):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def get_node_ids(self):
        return NODES

    def send_and_receive(self, messages, *, timeout=None):
        for message in messages:
            node = message.metadata.dst_node_id
            TaskIdentity._node_id = node
            context = Context(run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={})
            yield client(message, context)


def clipped_on_the_server() -> object:
    """A strategy with a recorder around Flower's clipping, and one inside of it."""
    from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping as Clipping
    from gradleak_flower import recording

    inner = recording(FedAvg, "runs/inside", META, point="clipped")
    wrapper = recording(Clipping, "runs/mine", META)
    asked = {"fraction_train": 1.0, "fraction_evaluate": 0.0}
    return wrapper(inner(**asked), noise_multiplier=0.1, clipping_norm=CLIP, num_sampled_clients=2)


def message_api(has_clipping: bool) -> None:
    TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = 1, 1, 1
    strategy = clipped_on_the_server() if has_clipping else executed(SERVER, FedAvg=FedAvg)["strategy"]
    strategy.start(
        grid=InProcess(),
        initial_arrays=ArrayRecord(network().state_dict()),
        num_rounds=2,
        train_config=ConfigRecord({"lr": 0.1}),
    )


def legacy_api() -> None:
    """The strategy's methods as Flower's server calls them."""
    from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server.client_manager import SimpleClientManager
    from flwr.server.client_proxy import ClientProxy
    from flwr.server.strategy import FedAvg as LegacyFedAvg

    class Proxy(ClientProxy):
        def get_properties(self, *args):
            raise NotImplementedError

        get_parameters = evaluate = reconnect = get_properties

        def fit(self, ins, timeout, group_id):
            model = network()
            weights = parameters_to_ndarrays(ins.parameters)
            state = {k: torch.tensor(w) for k, w in zip(model.state_dict(), weights, strict=True)}
            model.load_state_dict(state)
            after = trained(model, int(self.cid), int(group_id))
            status = Status(Code.OK, "")
            return FitRes(status, ndarrays_to_parameters(list(after.values())), 500, {})

    manager = SimpleClientManager()
    for node in NODES:
        manager.register(Proxy(str(node)))
    lines = SERVER.replace("_train=", "_fit=")
    strategy = executed(lines, FedAvg=LegacyFedAvg)["strategy"]
    weights = ndarrays_to_parameters([value.numpy() for value in network().state_dict().values()])
    for number in (1, 2):
        asked = strategy.configure_fit(number, weights, manager)
        results = [(proxy, proxy.fit(ins, None, str(number))) for proxy, ins in asked]
        weights, _ = strategy.aggregate_fit(number, results, [])


if __name__ == "__main__":
    if sys.argv[3] in ("message", "clipping"):
        message_api(sys.argv[3] == "clipping")
    else:
        legacy_api()
