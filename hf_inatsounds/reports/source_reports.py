"""What ``annotations`` and ``verify`` print for a person."""

from __future__ import annotations

from typing import Any

from hf_inatsounds.errors import printable
from hf_inatsounds.reports import text_table
from hf_inatsounds.schema import DEFECT_KINDS

MOST_LINES = 5
"""Files named a kind; --json has them all."""


def annotations_text(summary: dict[str, Any]) -> str:
    """Counts by supercategory and split, and licences, as tables."""
    official = "the official annotations by their md5" if summary["official"] else "not by md5 the official annotations"
    head = (
        f"{printable(summary['title']) or 'no title'}, {official}: {summary['classes']:,} classes, "
        f"{summary['evaluated_classes']:,} evaluated, {summary['classes_without_common_name']:,} without a common name"
    )
    rows = [["supercategory", "split", "species", "recordings", "hours", "with place", "no common name"]]
    first = next(iter(summary["splits"].values()))
    for name in [*first["supercategories"], "total"]:
        for split, counted in summary["splits"].items():
            counts = counted["total"] if name == "total" else counted["supercategories"][name]
            n = counts["recordings"]
            rows.append(
                [printable(name), split, f"{counts['species']:,}", f"{n:,}", f"{counts['hours']:,.2f}",
                 _share(counts["with_place"], n), _share(counts["without_common_name"], n)]
            )  # fmt: skip
    unknown = sum(counted["total"]["without_duration"] for counted in summary["splits"].values())
    note = f"\n\n{unknown:,} recordings have no annotated duration and count as 0 hours." if unknown else ""
    return f"{head}\n\n{text_table(rows)}{note}\n\n{text_table(_license_rows(summary))}"


def _license_rows(summary: dict[str, Any]) -> list[list[str]]:
    """Licence and split → recordings a supercategory; the most frequent licence first."""
    splits = summary["splits"]
    totals: dict[str, int] = {}
    for counted in splits.values():
        for name, n in counted["total"]["licenses"].items():
            totals[name] = totals.get(name, 0) + n
    supercategories = list(next(iter(splits.values()))["supercategories"])
    rows = [["licence", "split", *map(printable, supercategories), "total"]]
    for name in sorted(totals, key=lambda one: (-totals[one], one)):
        for split, counted in splits.items():
            columns = [*(counted["supercategories"][one] for one in supercategories), counted["total"]]
            rows.append([printable(name), split, *(f"{column['licenses'].get(name, 0):,}" for column in columns)])
    return rows


def verification_text(report: dict[str, Any]) -> str:
    """Files and their md5, counts by split, defective recordings, and what is wrong."""
    parts = [report["source"], text_table(_file_rows(report)), text_table(_count_rows(report))]
    listed = [line for split, check in report["splits"].items() for line in _listed(split, check)]
    listed += _across(report["duplicates_across_splits"])
    if listed:
        parts.append("\n".join(listed))
    n = len(report["problems"])
    parts.append("\n".join([f"{n} problem{'s' * (n > 1)}:", *(f"- {line}" for line in report["problems"])])
                 if n else "whole: every archive was read to its end, and files and annotations match")  # fmt: skip
    # a file name can hold anything, and a terminal obeys some of it
    return "\n".join(printable(line) for line in "\n\n".join(parts).split("\n"))


def _file_rows(report: dict[str, Any]) -> list[list[str]]:
    rows = [["file", "bytes", "md5", ""]]
    for check in report["splits"].values():
        for part in (check["archive"], check["annotations"]):
            if part is None:
                continue
            if part["damage"] is not None:
                state = "DAMAGED"
            elif part["official_md5"] is None:
                state = "not an official file" if part["md5"] else "unpacked"
            else:
                state = "the official md5" if part["official_md5"] == part["md5"] else "ANOTHER MD5"
            size = "" if part["bytes"] is None else f"{part['bytes']:,}"
            rows.append([part["name"], size, part["md5"] or "", state])
    return rows


def _count_rows(report: dict[str, Any]) -> list[list[str]]:
    rows = [["recordings", *report["splits"]]]
    checks = list(report["splits"].values())
    rows.append(["annotated", *("" if one["annotated"] is None else f"{one['annotated']:,}" for one in checks)])
    rows.append(["read", *(f"{one['found']:,}" for one in checks)])
    rows.append(["hours", *(f"{one['hours']:,.2f}" for one in checks)])
    rows.append([f"shorter than {report['window_s']:g} s", *(f"{one['shorter_than_window']:,}" for one in checks)])
    rows += [[kind, *(f"{len(one['defects'].get(kind, ())):,}" for one in checks)] for kind in DEFECT_KINDS]
    for key, name in (
        ("missing", "without file"),
        ("strays", "without annotation"),
        ("repeated", "twice in the archive"),
    ):
        rows.append([name, *(f"{one[key]['count']:,}" for one in checks)])
    return rows


def _listed(split: str, check: dict[str, Any]) -> list[str]:
    lines = []
    for kind, rows in check["defects"].items():
        lines.append(f"{split}, {kind} ({DEFECT_KINDS[kind]}): {len(rows):,}")
        lines += [f"  {row['recording_id']} {row['file_name']}{_detail(row)}" for row in rows[:MOST_LINES]]
        lines += _more(len(rows))
    for key, name in (
        ("missing", "without file"),
        ("strays", "without annotation"),
        ("repeated", "twice in the archive"),
    ):
        lines += _names(split, name, check[key])
    archive = check["archive"] or {"odd_members": {}, "end_mark": True, "extra_bytes": 0, "trailing_bytes": 0}
    for kind, names in archive["odd_members"].items():
        lines += _names(split, f"{kind}, passed over", names)
    if not archive["end_mark"] and archive["damage"] is None:
        lines.append(f"{split}: the archive lacks its end mark; every member was read")
    for key, where in (("extra_bytes", "the tar's end"), ("trailing_bytes", "the gzip stream")):
        if archive[key]:
            lines.append(f"{split}: {archive[key]:,} bytes behind {where}, passed over")
    return lines


def _names(split: str, what: str, found: dict[str, Any]) -> list[str]:
    if not found["count"]:
        return []
    lines = [f"{split}, {what}: {found['count']:,}", *(f"  {name}" for name in found["names"][:MOST_LINES])]
    return lines + _more(found["count"])


def _across(rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"byte-identical to a recording of another split: {len(rows):,}"] if rows else []
    shown = rows[:MOST_LINES]
    lines += [f"  {row['recording_id']} {row['file_name']} repeats {row['repeats_file_name']}" for row in shown]
    return lines + _more(len(rows))


def _detail(row: dict[str, Any]) -> str:
    if "annotated_s" in row:
        return f" ({row['duration_s']:g} s, annotated {row['annotated_s']:g} s)"
    return f" (repeats {row['repeats_recording_id']})" if "repeats_recording_id" in row else ""


def _more(n: int) -> list[str]:
    return [f"  and {n - MOST_LINES:,} more (--json lists them)"] if n > MOST_LINES else []


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
