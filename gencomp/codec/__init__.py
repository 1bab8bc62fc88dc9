"""Pictures to .gnc files and back."""
