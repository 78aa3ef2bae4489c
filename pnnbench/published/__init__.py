"""The authors' protocols, one file per platform: their checkpoints in, their tables out."""
