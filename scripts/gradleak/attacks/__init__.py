"""The attacks on images: what the adversary optimises, over one engine and one loop."""
