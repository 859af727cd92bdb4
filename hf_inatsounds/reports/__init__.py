"""What a person reads: tables for a terminal, the report of a training run, and pages with plots."""

from __future__ import annotations

from hf_inatsounds.reports.page import write_comparison, write_report
from hf_inatsounds.reports.tables import (
    AGGREGATIONS,
    comparison_text,
    defect_lines,
    identical_line,
    interval_text,
    markdown_table,
    metric_rows,
    number_text,
    results_text,
    setting_text,
    signed,
    summarise,
    text_table,
    training_report,
)

__all__ = [
    "AGGREGATIONS",
    "comparison_text",
    "defect_lines",
    "identical_line",
    "interval_text",
    "markdown_table",
    "metric_rows",
    "number_text",
    "results_text",
    "setting_text",
    "signed",
    "summarise",
    "text_table",
    "training_report",
    "write_comparison",
    "write_report",
]
