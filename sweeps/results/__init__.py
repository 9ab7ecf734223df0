"""Results pages: templates and small CSV tables in, Markdown pages out; no number on a page is typed by hand."""
