"""Untrusted files → checked arrays. Roles go by content, never by name, and nothing from outside is unpickled but in a
confined process.

A leak is a model (Keras JSON, or a .keras archive), the weights before the round, the shared delta, and optional
metadata. ``receive`` reads a stranger's files and leaves them in plain form; ``read_leak`` reads that form.
"""

from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.leak import Leak, read_leak, write_leak
from gradleak.artifacts.receive import receive
from gradleak.artifacts.sniff import sniff

__all__ = ["ArtifactError", "Leak", "read_leak", "receive", "sniff", "write_leak"]
