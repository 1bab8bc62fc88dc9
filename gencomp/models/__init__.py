"""The networks of the paper and the package that holds a trained one."""
