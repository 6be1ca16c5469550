"""What a trained generator is used for."""
