# What `make install` puts beside the binary.
