"""An NVFlare simulation of two clients that train a PyTorch model, with the recorder as filters.

    python nvflare_job.py DATA OUT

OUT/runs/mine: what the recorder wrote, by the lines of docs/how-to/audit-nvflare.md.
OUT/own: what each client computed itself.
"""

import re
import shutil
import sys
from pathlib import Path

OUT = Path(sys.argv[2]).resolve()
ROOT = Path(__file__).parents[2]
(LINES,) = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/how-to/audit-nvflare.md").read_text("utf-8"), re.M | re.S
)
CLIENT = Path(__file__).with_name("nvflare_client.py")


def main() -> None:
    shutil.copy(ROOT / "scripts/gradleak/recorders/nvflare.py", OUT / "gradleak_nvflare.py")
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
    from nvflare.recipe import SimEnv
    from nvflare_client import Net

    recipe = FedAvgRecipe(
        name="recorded",
        min_clients=2,
        num_rounds=2,
        model=Net(),
        train_script=str(CLIENT),
        train_args=f"{Path(sys.argv[1]).resolve()} {OUT}",
    )
    exec(LINES, {"recipe": recipe, "HERE": OUT})
    recipe.execute(SimEnv(num_clients=2, num_threads=2, workspace_root=str(OUT / "workspace")))


if __name__ == "__main__":
    main()
