"""What a laboratory brings: a method, a data set, a network, and the rings that it measured."""
