"""What happens to an image at prediction time: decoding, the network, the gate."""
