"""What is booted, and what the agent does about it: two pure tables, and one file per boot loader."""
