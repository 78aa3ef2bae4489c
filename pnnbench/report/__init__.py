"""Numbers in; text, pages, pictures and the W&B mirror out."""
