"""The report of a run: report.json, and report.html, which needs no network."""

from distilrec.report.across import Across, Domain, write_across
from distilrec.report.html import render, write
from distilrec.report.leaderboard import leaderboard
from distilrec.report.leaderboard_picture import leaderboard_picture, leaderboard_title
from distilrec.report.schema import Report, json_schema
from distilrec.report.verdict import reservations, verdict

__all__ = [
    "Across",
    "Domain",
    "Report",
    "json_schema",
    "leaderboard",
    "leaderboard_picture",
    "leaderboard_title",
    "render",
    "reservations",
    "verdict",
    "write",
    "write_across",
]
