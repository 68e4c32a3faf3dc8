"""Sections of the experiment report, one a file; `lm_pipeline.reports.report.SECTIONS` is their literal list."""
