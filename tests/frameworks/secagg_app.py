"""A legacy Flower app of three clients under real SecAgg+, with the recorder around its strategy.

    python secagg_app.py DATA OUT

DATA, OUT: as of flower_app.py. Each client has one image of each round. OUT/own: the mean of what the clients
computed. Server and clients run in one process; the messages are those of Flower.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_HOME"] = str(Path(sys.argv[2]) / "home")
