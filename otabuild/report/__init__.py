"""The report on an image as one HTML page.

Belongs here: collecting the data of the page, and the page.
Does not: comparing (`comparison/`), judging (`verification/`), the JSON report of a build
(`pipeline/build_report`).
Start with `report_data.report_data`, then `report_page`.
"""
