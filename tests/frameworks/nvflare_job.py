"""An NVFlare simulation of two clients that train a PyTorch model, with the recorder as filters.

    python nvflare_job.py DATA OUT

OUT/recorded: what the recorder wrote. OUT/own: what each client computed itself.
"""

import sys
from pathlib import Path

OUT = Path(sys.argv[2]).resolve()
CLIENT = Path(__file__).with_name("nvflare_client.py")


def main() -> None:
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
    from nvflare.recipe import SimEnv
    from nvflare_client import Net

    from gradleak.recorders.nvflare import Recorder

    recipe = FedAvgRecipe(
        name="recorded",
        min_clients=2,
        num_rounds=2,
        model=Net(),
        train_script=str(CLIENT),
        train_args=f"{Path(sys.argv[1]).resolve()} {OUT}",
    )
    meta = {"learning_rate": 0.1, "optimizer": "sgd", "samples": 2}
    recorded = str(OUT / "recorded")
    recipe.add_server_output_filter(Recorder(recorded, "before", meta), tasks=["train"])
    recipe.add_server_input_filter(Recorder(recorded, "result", meta), tasks=["train"])
    recipe.execute(SimEnv(num_clients=2, num_threads=2, workspace_root=str(OUT / "workspace")))


if __name__ == "__main__":
    main()
