"""The lines of docs/how-to/from-pytorch.md, on one step of SGD.

    python from_pytorch.py DATA OUT

DATA: x_0 (rounds, n, 64) float32 and y_0. OUT/leaks/mine: what the lines write.
"""

import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

DATA, OUT = np.load(sys.argv[1]), Path(sys.argv[2])
PAGE = Path(__file__).parents[2] / "docs/how-to/from-pytorch.md"
STRUCTURE, BEFORE, AFTER, KNOWN = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)

warnings.simplefilter("ignore")
torch.manual_seed(0)
nn = torch.nn
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 10), nn.LogSoftmax(dim=1))
x, y = torch.tensor(DATA["x_0"][0]).reshape(-1, 1, 8, 8), torch.tensor(DATA["y_0"][0])
names = {"model": model, "x": x}
(OUT / "leaks/mine").mkdir(parents=True)
os.chdir(OUT)
exec(STRUCTURE, names)
exec(BEFORE, names)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
nn.functional.nll_loss(model(x), y).backward()
optimizer.step()
exec(AFTER, names)
exec(KNOWN, names)
