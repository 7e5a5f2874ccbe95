"""What a copy would move, need and take: measured at both ends by a dry run, and figured out from that."""
