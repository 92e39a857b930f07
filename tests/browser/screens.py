"""Where pictures of the pages are kept."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "results" / "screenshots"
