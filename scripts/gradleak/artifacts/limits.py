"""Limits for untrusted files. They are checked against the headers, before memory is allocated."""

MAX_PARAMETERS = 1 << 25  # of a model; a ResNet-50 has 25.6 million
MAX_FILE = 9 * MAX_PARAMETERS  # bytes of one file: every parameter as float64, and headers
MAX_JSON = 4 << 20  # bytes of a JSON file
MAX_DEPTH = 40  # nesting of JSON and of metadata
MAX_MEMBERS = 4096  # of an archive; tensors of a file
MAX_NAME = 200  # characters of a tensor's name
MAX_RANK = 8  # axes of a tensor
MAX_LAYERS = 500
MAX_SIZE = 1 << 20  # any single number in a layer's settings: units, filters, strides, …
MAX_ACTIVATIONS = 1 << 24  # numbers in any one layer's output for one image
MAX_WORK = 1 << 34  # multiply-adds for one image
MAX_META = 10_000  # values in the metadata, nested ones included

# The child process in which files are read. The bytes include Python and its libraries.
CHILD_BYTES = 1 << 30
CHILD_SECONDS = 50
