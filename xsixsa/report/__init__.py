"""A run as one self-contained page."""

from xsixsa.report.page import report_html, write_report

__all__ = ["report_html", "write_report"]
