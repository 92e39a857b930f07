"""gradleak measures information leakage from model updates."""

import os

# TensorFlow's oneDNN kernels multiply many small matrices several times faster, and small matrices are
# what this package computes with. On CPUs without AVX-512 they are off by default, and the choice is
# read when TensorFlow is first imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
