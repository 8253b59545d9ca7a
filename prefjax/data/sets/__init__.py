"""Named data sets of real people, one module each: what it is, how it is read, how it is split."""
