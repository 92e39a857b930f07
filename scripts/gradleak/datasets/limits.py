"""Limits for files of data sets. They are checked against headers and sizes, before memory is allocated."""

MAX_BYTES = 1 << 30  # of one data set, unpacked; 50,000 float32 images of 32×32×3 are 0.6 GB
MAX_EXAMPLE = 1 << 20  # numbers in one example
MAX_CLASSES = 4096  # classes, or labels that an example can have
MAX_PIXELS = 1 << 26  # of one image file, before it is scaled down
MAX_IMAGES = 1 << 20  # files in a folder of images
MAX_COLUMNS = 4096  # of a table, and numbers in a record after one-hot encoding
MAX_ROWS = 1 << 22  # of a table
MAX_CATEGORIES = 256  # different values of one column of text
