"""One file per family; `hub.family.find_family` finds them by model_type."""
