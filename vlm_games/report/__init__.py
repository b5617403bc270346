"""What a run tells its reader: tables, one HTML page, TensorBoard scalars."""
