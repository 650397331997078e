"""The same workloads written with other libraries, as their documentation teaches; they come with the extra `bench`."""
