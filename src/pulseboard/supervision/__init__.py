"""Programs that are kept running: one supervised child, and a staff of them that ends as one."""
