"""The elements by which recruiters judge inside a product's own pages."""
