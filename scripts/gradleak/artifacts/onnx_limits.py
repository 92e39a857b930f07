"""Limits for ONNX files, beside those of ``limits``; here, since only their readers depend on them."""

MAX_BYTES = 4 << 20  # of a file: a structure without its weights
MAX_FIELDS = 200_000  # of it, and numbers in packed lists
MAX_NODES = 5_000  # a ResNet-50 with GroupNorm has about 700
MAX_CONSTANT = 256  # numbers of one constant that is read
