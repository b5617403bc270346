"""How the shipped base model was made: labelled source scenes to a VLM."""
