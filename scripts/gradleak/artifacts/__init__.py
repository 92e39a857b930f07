"""Untrusted files → checked arrays and JSON.

A leak is a model (Keras JSON, or a .keras archive), the weights before the round, the shared delta, and
optional metadata. The role of each file is found from its content, not from its name. Nothing is unpickled
outside a confined process. ``receive.receive`` reads the files of an untrusted sender and leaves them in
plain form; ``leak.read_leak`` reads that form.
"""
