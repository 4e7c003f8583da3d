"""The documents that a person gets: results, report, notebook, tables and manifest, each a pure function of a job."""
