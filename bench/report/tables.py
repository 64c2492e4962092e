"""The result's tables as Markdown, CSV and LaTeX, in the folder `tables` of a run.

results.md, results.csv, results.tex      contestants by metrics, with intervals
comparisons.csv                           every comparison, with full figures
step_response.md, step_response.csv       whether more steps ever make a contestant worse
claims.md, claims.csv                     a suite's claims with their verdicts, where it has any
trainings.csv                             what every trained contestant cost
model-index.yaml                          for model cards on the hub (bench/report/model_index.py)
votes.csv, votes_simulated.csv            a preference study's votes (bench/study/votes_csv.py)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from bench.report import model_index, speed, step_response, view
from bench.report.banners import partial_words
from bench.report.words import enough_words, metric_words
from bench.results.csv_text import csv_text
from bench.results.summary import METHODS, Claim, Comparison, Contestant, Summary, Training
from hypersd.whole_files import written_whole

LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
         "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
         "\u2212": "$-$", "\u2013": "--", "\u2020": r"\dag", "\u2021": r"\ddag"}  # fmt: skip
COMPARISON = ("a", "b", "metric", "delta", "low", "high", "p", "p_adjusted", "win_rate", "n",
              "detectable", "prompts_needed", "family", "detectable_adjusted",
              "prompts_needed_adjusted")  # fmt: skip
CLAIM = tuple(field.name for field in fields(Claim))
TRAINING = tuple(field.name for field in fields(Training))


def write(summary: Summary, out: Path) -> list[Path]:
    """Write all tables into out/tables. Raises OSError where that cannot be written."""
    made = {
        "results.md": markdown(summary),
        "results.csv": results_csv(summary),
        "results.tex": latex(summary),
        "comparisons.csv": comparisons_csv(summary),
        "trainings.csv": trainings_csv(summary),
    }
    if cards := model_index.text(summary):
        made["model-index.yaml"] = cards
    if summary.step_response:
        made["step_response.md"] = step_response.markdown(summary)
        made["step_response.csv"] = step_response.csv(summary)
    if summary.claims:
        made |= {"claims.md": claims_markdown(summary), "claims.csv": claims_csv(summary)}
    return _save(made, out)


def _save(made: Mapping[str, str], out: Path) -> list[Path]:
    """Write texts by file name into out/tables, each whole or not at all. Raises OSError."""
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        with written_whole(folder / name) as beside:
            beside.write_text(text, encoding="utf-8")
    return [folder / name for name in made]


def markdown(summary: Summary) -> str:
    """A pipe table: value and interval; bold as in the report."""
    heads = ["contestant", *_titles(summary), "ms / image"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for _, rows in view.table(summary):
        for row in rows:
            cells = [_markdown_cell(cell) for cell in row.cells]
            words = [_pipe(row.contestant.name), *cells, row.milliseconds or "\u2013"]
            lines.append("| " + " | ".join(words) + " |")
    return "\n".join([*lines, "", f"{_caption(summary)}", ""])


def _markdown_cell(cell: view.Cell | None) -> str:
    if cell is None:
        return "\u2013"
    value = f"**{cell.value}**" if cell.best else cell.value
    of_trainings = f" ({cell.trainings})" if cell.trainings else ""
    return f"{value}{cell.mark} [{_between(cell)}]{of_trainings}"


def _between(cell: view.Cell) -> str:
    return cell.interval.replace(" \u2013 ", ", ")


def _pipe(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def latex(summary: Summary) -> str:
    """A booktabs table, ready for \\input; needs the packages booktabs and (for marks) textcomp."""
    metrics = _titles(summary, up=r"$\uparrow$", down=r"$\downarrow$")
    heads = ["Contestant", *metrics, "ms / image"]
    blocks = ["\n".join(_latex_row(row) for row in rows) for _, rows in view.table(summary)]
    return "\n".join([
        r"% Needs \usepackage{booktabs}.",
        r"\begin{table}[t]", r"\centering\small", rf"\caption{{{_escaped(_caption(summary))}}}",
        r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}", r"\toprule",
        " & ".join(heads) + r" \\", r"\midrule", "\n\\midrule\n".join(blocks), r"\bottomrule",
        r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _latex_row(row: view.TableRow) -> str:
    cells = [
        "--" if c is None else
        (rf"\textbf{{{_escaped(c.value)}}}" if c.best else _escaped(c.value))
        + (f"${_escaped(c.mark)}$" if c.mark else "")
        + rf" {{\scriptsize [{_escaped(_between(c))}]}}"
        + (rf" {{\scriptsize ({_escaped(c.trainings)})}}" if c.trainings else "")
        for c in row.cells
    ]  # fmt: skip
    words = [_escaped(row.contestant.name), *cells, row.milliseconds or "--"]
    return " & ".join(words) + r" \\"


def _escaped(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _titles(summary: Summary, up: str = "\u2191", down: str = "\u2193") -> list[str]:
    return [
        f"{metric_words(m).title} {up if view.any_value(summary, m).higher_is_better else down}"
        for m in summary.metric_names()
    ]


def _caption(summary: Summary) -> str:
    n = max((c.n for c in summary.contestants), default=0)
    several = (
        " Of several trainings the mean, its interval over new trainings and prompts, and the "
        "range; bold is of the first one's weights."
        if summary.over_trainings
        else ""
    )
    cut = f" Quick run, cut to {summary.limit} prompts." if summary.limit is not None else ""
    seconds = " ".join(["", *speed.notes(summary)])
    return (
        f"{partial(summary)}{summary.title or summary.suite}: N = {n:,}, "
        f"95 % intervals, bold where paired tests "
        f"show the best of its step count (Holm, p < 0.05).{several} "
        f"Protocol {summary.protocol[:12]}.{cut}{enough_words(summary)}{_lacking(summary)}{seconds}"
    )


def partial(summary: Summary) -> str:
    """ "Partial, 9 of 15 rows. "; "" of a run whose rows are all drawn."""
    return f"Partial, {partial_words(summary)}. " if summary.to_come else ""


def _lacking(summary: Summary) -> str:
    """The missing rows in words."""
    names = {"Still to be drawn": summary.to_come, "Left out": summary.left_out}
    return "".join(f" {why}: {', '.join(row.name for row in rows)}."
                   for why, rows in names.items() if rows)  # fmt: skip


def results_csv(summary: Summary) -> str:
    """One line per contestant and metric, numbers in full; of a row that is not there one line
    without a metric."""
    lacking = ([row.name, row.method, row.steps] for row in summary.missing)
    return csv_text(
        ("contestant", "method", "steps", "metric", "value", "low", "high", "n",
         "higher_is_better", "trained_on", "ms_per_image", "ms_low", "ms_high", "ms_rounds",
         "ms_noise", "precomputed", "identity",
         "trainings", "mean_of_trainings", "mean_low", "mean_high", "lowest", "highest"),
        [*(_results_line(summary, r.contestant, m) for _, rows in view.table(summary)
           for r in rows for m in r.contestant.metrics),
         *([*one, *[None] * 20] for one in lacking)],
    )  # fmt: skip


def _results_line(summary: Summary, contestant: Contestant, metric: str) -> list[object]:
    value, seconds = contestant.metrics[metric], contestant.seconds_per_image
    times: list[object] = [None] * 5
    if seconds is not None:
        ends = (None if end is None else 1000 * end for end in (seconds.low, seconds.high))
        times = [1000 * seconds.median, *ends, seconds.rounds, seconds.noise]
    return [contestant.name, contestant.method, contestant.steps, metric, value.value, value.low,
            value.high, value.n, value.higher_is_better, value.trained_on, *times,
            contestant.precomputed, value.identity,
            *_over_trainings(summary, contestant.name, metric)]  # fmt: skip


def _over_trainings(summary: Summary, name: str, metric: str) -> list[object]:
    over = summary.over_trainings.get(name, {}).get(metric)
    if over is None:
        return [1, None, None, None, None, None]
    return [len(over.values), over.mean, over.low, over.high, min(over.values), max(over.values)]


def comparisons_csv(summary: Summary) -> str:
    """One line per comparison, numbers in full; of one that waits for a row the pair alone."""
    waiting = [(row.name, other) for row in summary.missing for other in row.against]
    lines = [_comparison_line(row) for row in summary.comparisons]
    return csv_text(COMPARISON, [*lines, *([*pair, *[None] * 13] for pair in waiting)])


def _comparison_line(row: Comparison) -> list[object]:
    return [getattr(row, name) for name in COMPARISON]


def trainings_csv(summary: Summary) -> str:
    """One line per trained contestant: pictures seen, UNet passes, seconds, hardware."""
    trained = [(c.name, c.training) for c in summary.contestants if c.training is not None]
    return csv_text(
        ("contestant", *TRAINING),
        ([name, *(getattr(training, field) for field in TRAINING)] for name, training in trained),
    )


def claims_markdown(summary: Summary) -> str:
    """A pipe table: every claim, its verdict, its difference with interval, its trainings, and how
    many would decide it, alone and adjusted."""
    lines = ["| claim | verdict | difference | trainings | would take |", "|---|---|---|---:|---:|"]
    for claim in summary.claims:
        cells = [claim.text, claim.words, view.claim_numbers(summary, claim) or claim.why]
        over = f"{claim.training_seeds}" if claim.about == METHODS else "these weights"
        ends = f"{over} | {_would_take(claim)}"
        lines.append(f"| {' | '.join(map(_pipe, cells))} | {ends} |")
    return "\n".join([*lines, ""])


def _would_take(claim: Claim) -> str:
    if claim.verdict != "not shown" or claim.about != METHODS:
        return ""
    counts = (claim.trainings_needed, claim.trainings_needed_adjusted)
    return " / ".join("\u2013" if count is None else f"{count:,}" for count in counts)


def claims_csv(summary: Summary) -> str:
    """One line per claim, numbers in full."""
    return csv_text(CLAIM, ([getattr(claim, name) for name in CLAIM] for claim in summary.claims))
