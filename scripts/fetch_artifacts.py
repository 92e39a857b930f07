"""A stranger's artifacts (a folder, or Google Drive) → a copy under results/, each file sniffed."""

import shutil
from pathlib import Path

from gradleak import artifacts, jobs
from gradleak.errors import Expected
from gradleak.files import replacing_folder


def download(ids: list[str], folder: Path) -> None:
    """Fetch Drive files by id; what went wrong and the way by hand are in the error."""
    import gdown

    for number, file_id in enumerate(ids):
        path = folder / f"artifact-{number}"
        try:
            found = gdown.download(id=file_id, output=str(path), quiet=True, use_cookies=False)
            reason = "" if found else "no file came"
        except Exception as error:  # gdown raises its own, requests' and bare ones: the remedy is the same
            first_line, _, _ = str(error).strip().partition("\n")
            reason = f"{type(error).__name__}: {first_line}"
        if reason:
            raise Expected(
                f"Drive file {file_id} could not be fetched ({reason}). Check the network and that the file is shared "
                "with anyone who has the link; or download the files in a browser into a folder and use a target "
                "with `source: local, path: <that folder>`."
            )


def main(snakemake) -> None:
    with replacing_folder(snakemake.output.artifacts) as folder:
        draw = folder / "draw-000"
        draw.mkdir()
        if snakemake.params.ids:
            download(snakemake.params.ids, draw)
        for source in snakemake.input.get("files", []):
            shutil.copyfile(source, draw / Path(source).name)
        for path in sorted(draw.iterdir()):
            jobs.log.info("%s: %d bytes, %s", path.name, path.stat().st_size, artifacts.sniff(path))


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
