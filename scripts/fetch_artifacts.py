"""Untrusted artifacts (a folder, or Google Drive) → the leak as plain arrays and JSON, and a manifest."""

from pathlib import Path

from gradleak.artifacts import drive, lock
from gradleak.artifacts.receive import receive
from gradleak.files import replacing_folder, write_sums
from gradleak.jobs import job


def main(snakemake) -> None:
    ids, cache = snakemake.params.ids, Path(snakemake.params.cache)
    known = Path(snakemake.params.lock)
    files = [Path(name) for name in snakemake.input.get("files", [])] or [
        drive.fetch(file_id, cache, known) for file_id in ids
    ]
    hashes = {path.name: (drive.sha256(path), path.stat().st_size) for path in files if ids}
    with replacing_folder(snakemake.output.artifacts) as folder:
        draw = folder / f"draw-{snakemake.params.draw:03d}"
        draw.mkdir()
        try:
            leak = receive(files, draw)
        finally:  # the downloads are removed; the plain form is kept, but nothing of a refused leak
            for name in hashes:
                (cache / name).unlink()
        for entry in leak.manifest["files"]:
            job.log.info("%(name)s: %(bytes)d bytes, SHA-256 %(sha256)s: %(role)s (%(evidence)s)", entry)
        lock.record(known, hashes)
        write_sums(snakemake.output.sums, folder)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
