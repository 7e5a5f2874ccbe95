"""`copy --follow`: the destination is kept current while the source is in use."""
