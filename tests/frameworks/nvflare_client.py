"""The client of nvflare_job.py: one step of SGD a round. Arguments: DATA OUT."""

import sys
from pathlib import Path

import numpy as np
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(64, 300), torch.nn.Linear(300, 10)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def main() -> None:
    import nvflare.client as flare

    data, out = np.load(sys.argv[1]), Path(sys.argv[2])
    flare.init()
    name = flare.get_site_name()
    place = int(name.removeprefix("site-")) - 1
    while flare.is_running():
        received = flare.receive()
        number = received.current_round
        model = Net()
        model.load_state_dict({k: torch.as_tensor(v) for k, v in received.params.items()})
        before = {key: value.clone().numpy() for key, value in model.state_dict().items()}
        x, y = (torch.tensor(data[f"{kind}_{place}"][number]) for kind in "xy")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        after = {key: value.detach().cpu().numpy() for key, value in model.state_dict().items()}
        folder = out / "own" / f"round-{number + 1:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        own = {key: (after[key].astype(np.float64) - before[key]).astype(np.float32) for key in after}
        np.savez(folder / f"client-{name}.npz", **own)
        flare.send(flare.FLModel(params=model.state_dict(), meta={"NUM_STEPS_CURRENT_ROUND": 1}))


if __name__ == "__main__":
    main()
