"""Pages for people: what a command found, as one file of HTML with its plots."""
