"""What a script does around its work: its log, its signals, and the files of its block."""
