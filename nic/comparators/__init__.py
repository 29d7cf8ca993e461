"""The methods that the paper and its related work compare neural image compression with, on the same patients."""
