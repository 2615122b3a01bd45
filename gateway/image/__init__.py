"""Images: from a board file to a disk that boots. Runs on the build machine, needs no root and no loop devices."""
