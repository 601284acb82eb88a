"""`report`: the results of a version, or of all versions of a parent run, as one HTML and one Markdown file."""

from __future__ import annotations

import base64
import html
import io
import math
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import mlflow
from matplotlib.figure import Figure
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sa_mlops.config import ENTRY_POINTS
from sa_mlops.core.measuring import MANIFOLD_SAMPLES, SAMPLES
from sa_mlops.errors import CommandError, plain
from sa_mlops.files import replacing
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.lineage import Edge, Node, lineage_tree
from sa_mlops.registry import claims, gates, inventory, lineage, names, tracking, versions
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import VersionError
from sa_mlops.stages import judge, measure, population
from sa_mlops.stages.result import Result

FIGURES = (
    ("figures/before_after.png", "Before and after: the same latent in each row."),
    ("figures/samples.png", "Samples: one latent a row."),
    ("figures/loss.png", "Loss terms."),
    ("figures/gradient_norm.png", "Norm of the gradient."),
)
REPORTED = (("notebook, digit 1", 0.2045, 2.2175), ("authors' README, digit 0", 0.0581, 2.1946))
"""Results on MNIST reported elsewhere: source, probability, entropy (nats)."""

MEASURED = (
    f"{SAMPLES:,} samples a class, at the same latents for every model. Probability and entropy are those of the "
    "calibrated judge; intervals are 95 % bootstrap. FID, precision and recall are computed in that judge's "
    "penultimate layer against the real test images of the retained classes (precision and recall on at most "
    f"{MANIFOLD_SAMPLES:,} images a side, 3 neighbours)."
)
AS_IS = (
    "Probability of the images as they are. That of the forgotten in the table above is of the worse of two views: as "
    "they are, and with automatic levels."
)
GATES = "A version becomes the champion only if it passes every gate; these are the default limits."
CALIBRATED = (
    "A judge that is certain about grey or noise cannot measure forgetting, because a model that has forgotten a class "
    "draws grey. On such images the calibrated judge's entropy must stay near the maximum, ln K, and its largest "
    "probability near chance, 1/K."
)
UNCALIBRATED = (
    "Those classifiers were not calibrated on images that show no digit: only the last two rows compare."
)
DESCRIBED = (
    "These numbers describe the images drawn when the class is requested. They do not show that the class cannot be "
    "recovered by attacks, which `sa-mlops probe` makes, or by further training on images of the class."
)
CLAIMED = (
    "Suppressed: an attacker of a level cannot make the generator draw the class; the upper end of the 95 % interval "
    f"of the attacker's success is at most {claims.LIMIT:g}. Removed: the generator behaves as one that never saw the "
    "class; at every level the upper end of the interval of the excess over the retrained control is at most "
    f"{claims.LIMIT:g}, in tests that the fakes fail. An excess below zero does not mean better than retrained."
)
LEVELS = (
    "Share of attempts whose image the judge accepts as the class in either view, with 95 % Wilson intervals; an "
    "attempt counts if any attack of the level succeeds. `switch` and `lock` are fakes made of the base that have "
    "forgotten nothing. A dash was not measured."
)
SIBLINGS = 3
"""Other probed versions from the same base without the same classes that stand in the table of levels, at most."""
RECOGNISED = (
    "The judge must recognise faded real images as well as it recognises them at full contrast, down to a contrast of "
    "0.1: otherwise a class drawn in faint grey would count as forgotten."
)
BIASED = (
    "FID of finite samples is biased upwards: compare it only with the base's at the same number of samples. The "
    "judges are trained on the same data set as the generator."
)

CODE = re.compile("`([^`]+)`")
"""A command in a paragraph."""
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .75rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}figure{margin:1rem 0}figcaption{color:#555}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f4f4f4}pre{padding:.75rem;overflow:auto}
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report: heading, paragraphs, tables (header first), figures (PNG bytes and caption), commands."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    figures: tuple[tuple[bytes, str], ...] = ()
    command: str = ""


def report(word: str, out: Path | None) -> Result:
    """Write `report.html` and `report.md` into `out`, and log both on the version's run.

    Raises ParameterError if `word` names neither a version nor a run that made versions, or `out` cannot be written.
    """
    client = tracking.connect()
    subjects, run_id = _subjects(client, word)
    folder = out or Path.cwd() / "reports" / re.sub(r"[^\w,.-]+", "-", subjects[-1].title)[:100]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError("out", str(folder), f"a folder that can be written ({error.strerror})") from None
    alone = len(subjects) == 1
    title = f"Report on {subjects[0].uri}" if alone else f"{len(subjects)} versions of run {run_id}"
    sections = [s for version in subjects for s in _sections(client, version, alone=alone)]
    page, text = folder / "report.html", folder / "report.md"
    for path, content in ((page, to_html(title, sections)), (text, to_markdown(title, sections))):
        _write_whole(path, content)
    for path in (page, text):
        client.log_artifact(run_id, str(path), "report")
    if alone:
        card = to_markdown(title, sections, pictures=False)
        client.update_model_version(names.GENERATORS, str(subjects[0].number), card)
    document = {
        "html": str(page),
        "markdown": str(text),
        "versions": [v.uri for v in subjects],
        "run_id": run_id,
    }
    return Result(document, f"{page}\n{text}")


def _write_whole(path: Path, content: str) -> None:
    """Write a file, or leave what was there. Raises CommandError if it cannot be written, as on a full disk."""
    try:
        with replacing(path) as part:
            part.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror or error})") from None


def _subjects(client: MlflowClient, word: str) -> tuple[list[Version], str]:
    """The versions to report on, and the run that gets the report."""
    if re.fullmatch(r"[0-9a-f]{32}", word):
        found = [v for v in versions.all_versions(client, names.GENERATORS) if _parent_run(client, v) == word]
        if found:
            return found[::-1], word
    version = versions.given(client, word, others=", or the id of a parent run that made versions")
    return [version], version.run_id


def _parent_run(client: MlflowClient, version: Version) -> str:
    try:
        return str(client.get_run(version.run_id).data.tags.get("mlflow.parentRunId", ""))
    except MlflowException:
        return ""


def _sections(client: MlflowClient, version: Version, *, alone: bool) -> list[Section]:
    metrics = tracking.run_metrics(client, version.run_id)
    forgotten = names.spell_classes(version.forgotten)
    question = (
        f"Has {version.uri} forgotten {forgotten}, and how well does it retain the other classes?"
        if forgotten
        else f"How good is {version.uri}, a generator of all classes?"
    )
    sections = [
        Section(version.title, paragraphs=(question, _origin(version), _answer(version, metrics))),
        Section("Measured", paragraphs=(MEASURED,), table=_comparison(client, version, metrics)),
        Section("By class", paragraphs=(AS_IS,) if forgotten else (), table=_by_class(version, metrics)),
    ]
    if version.stage == "forget":
        sections += [
            Section("Gates", paragraphs=(GATES,), table=_gates(version, metrics)),
            _claims(client, version, metrics),
        ]
    if "population.size" in metrics:
        header, rows = population.rows(metrics)
        compared = (tuple(header), *map(tuple, rows))
        sections.append(
            Section("As a distribution", paragraphs=(population.explained(metrics),), table=compared)
        )
    controls = _controls(client, version)
    if len(controls) > 1:
        sections.append(
            Section("Judges on images that show no class", paragraphs=(CALIBRATED,), table=controls)
        )
    if (figure := judge.faded_figure(_judge_metrics(client, version, names.JUDGE))) is not None:
        faded = (_png(figure), "Real test images at lower contrast, as the calibrated judge sees them.")
        sections.append(Section("Real images faded", paragraphs=(RECOGNISED,), figures=(faded,)))
    if forgotten and version.tags.get(names.DATASET) == "mnist":
        sections.append(
            Section(
                "Results reported elsewhere", paragraphs=(UNCALIBRATED,), table=_reported(version, metrics)
            )
        )
    pictures = _pictures(version)
    if alone:
        pictures = ((_lineage_picture(client, version), "Lineage of the version."), *pictures)
    return [
        *sections,
        Section("Pictures", figures=pictures),
        Section("Limits", paragraphs=(DESCRIBED, BIASED)),
        Section("Reproduce", command=_command(client, version)),
    ]


def _gates(version: Version, metrics: Mapping[str, float]) -> tuple[tuple[str, ...], ...]:
    """The verdict of each gate at its default limit."""
    rows = [("gate", "found", "limit", "verdict")]
    for v in gates.judge_version(version, metrics):
        gate = gates.GATES[v.gate]
        found = "not measured" if math.isnan(v.found) else f"{v.found:.4f}"
        sign = "≤" if gate.better == "low" else "≥"
        rows.append((gate.help, found, f"{sign} {v.limit:.4g}", "pass" if v.passed else "FAIL"))
    return tuple(rows)


def _claims(client: MlflowClient, version: Version, metrics: Mapping[str, float]) -> Section:
    """Both claims, and the levels behind them beside base, retrained control, fakes, and versions like this one."""
    command = f"sa-mlops probe {version.options} --level all"
    said = f"{version.claim}." if version.claim else f"No attack is recorded; `{command}` makes the evidence."
    same = {k: version.tags.get(k, "") for k in (names.BASE, names.FORGOTTEN, names.DATA_MD5)}
    found = versions.tagged(client, names.GENERATORS, {names.STAGE: "forget", **same})
    siblings = islice((v for v in found if v.claim and v.number != version.number), SIBLINGS)
    own = [version, *siblings]
    columns = [
        (v.title, tracking.run_metrics(client, v.run_id), "") for v in sorted(own, key=lambda v: v.number)
    ]
    beside = {name: (name, metrics, name) for name in claims.BESIDE}
    table = claims.level_table([beside.pop("base"), *columns, *beside.values()])
    paragraphs = (said, CLAIMED, LEVELS) if table else (said, CLAIMED)
    return Section("Suppressed or removed", paragraphs=paragraphs, table=table)


def _origin(version: Version) -> str:
    tags = version.tags
    return (
        f"Data: {tags.get(names.DATASET, '?')}, pinned as {tags.get(names.DATA_MD5, '?')}. "
        f"Seed {tags.get(names.SEED, '?')}, code {tags.get(names.GIT_COMMIT) or 'outside a checkout'}, "
        f"configuration {tags.get(names.CONFIG, '?')}."
    )


def _answer(version: Version, metrics: Mapping[str, float]) -> str:
    if not version.forgotten:
        return f"Test negative ELBO {_show(metrics, 'test_nelbo')} nats, accuracy {_show(metrics, 'retain.accuracy')}."
    chance, uniform = _uniform(version)
    return (
        f"The judge's mean probability of the forgotten classes is {_show(metrics, 'forget.prob')} (chance: "
        f"{chance:.4f}) at an entropy of {_show(metrics, 'forget.entropy')} nats (uniform: {uniform:.4f}). The "
        f"accuracy on the retained classes is {_show(metrics, 'retain.accuracy')}, against "
        f"{_show(metrics, 'base.retain.accuracy')} in the base."
    )


def _uniform(version: Version) -> tuple[float, float]:
    """Probability and entropy of a uniform answer over the version's classes."""
    count = len(version.classes)
    return 1 / count, math.log(count)


def _reported(version: Version, metrics: Mapping[str, float]) -> tuple[tuple[str, ...], ...]:
    rows = (*REPORTED, ("uniform answer (complete forgetting)", *_uniform(version)))
    return (
        ("source", "probability", "entropy (nats)"),
        *((source, f"{p:.4f}", f"{h:.4f}") for source, p, h in rows),
        (version.title, _show(metrics, "forget.prob"), _show(metrics, "forget.entropy")),
    )


def _show(metrics: Mapping[str, float], key: str, spell: str = "{:.4f}") -> str:
    return spell.format(metrics[key]) if key in metrics else "-"


def _comparison(
    client: MlflowClient, version: Version, metrics: Mapping[str, float]
) -> tuple[tuple[str, ...], ...]:
    control = _retrained(client, version)
    beside = tracking.run_metrics(client, control.run_id) if control is not None else {}
    header = ["metric", version.title]
    compared = f"{names.BASE_PREFIX}retain.accuracy" in metrics
    header += ["base"] if compared else []
    header += [control.title] if control is not None else []
    rows = [tuple(header)]
    for key, words, spell in measure.headline(metrics):
        interval = ""
        if f"{key}.low" in metrics:
            interval = f" [{spell.format(metrics[f'{key}.low'])}, {spell.format(metrics[f'{key}.high'])}]"
        row = [words, spell.format(metrics[key]) + interval]
        row += [_show(metrics, names.BASE_PREFIX + key, spell)] if compared else []
        row += [_show(beside, key, spell)] if control is not None else []
        rows.append(tuple(row))
    return tuple(rows)


def _retrained(client: MlflowClient, version: Version) -> Version | None:
    """The retrained control of a forgetting version: the same data, seed and forgotten classes."""
    if version.stage != "forget":
        return None
    keys = {k: version.tags.get(k, "") for k in (names.DATA_MD5, names.SEED, names.FORGOTTEN)}
    return versions.find(client, names.GENERATORS, {names.STAGE: "retrain", **keys})


def _by_class(version: Version, metrics: Mapping[str, float]) -> tuple[tuple[str, ...], ...]:
    rows: list[tuple[str, ...]] = [("class", "probability", "entropy", "accuracy", "accuracy of the base")]
    for name in version.classes:
        mark = f"{name} (forgotten)" if name in version.forgotten else name
        keys = [names.class_metric(name, value) for value in ("prob", "entropy", "accuracy")]
        keys.append(names.class_metric(name, "accuracy", base=True))
        rows.append((mark, *(_show(metrics, key) for key in keys)))
    return tuple(rows)


def _controls(client: MlflowClient, version: Version) -> tuple[tuple[str, ...], ...]:
    roles = {"calibrated": names.JUDGE, "plain": names.JUDGE_PLAIN}
    found = {role: m for role, tag in roles.items() if (m := _judge_metrics(client, version, tag))}
    shown = judge.answered(found)
    rows = [("judge", *(f"{c.replace('_', ' ')}: entropy / largest p" for c in shown))]
    for role, m in found.items():
        cells = (
            f"{_show(m, f'control.{c}.entropy', '{:.3f}')} / {_show(m, f'control.{c}.max_prob', '{:.3f}')}"
            for c in shown
        )
        rows.append((role, *cells))
    return tuple(rows)


def _judge_metrics(client: MlflowClient, version: Version, tag: str) -> Mapping[str, float]:
    """Metrics of the judge that a version's tag names; empty if there is none."""
    number = version.link(tag, names.JUDGES)
    try:
        run_id = "" if number is None else versions.get(client, names.JUDGES, number).run_id
    except VersionError:
        return {}
    return tracking.run_metrics(client, run_id) if run_id else {}


def _pictures(version: Version) -> tuple[tuple[bytes, str], ...]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for path, caption in FIGURES:
            try:
                local = mlflow.artifacts.download_artifacts(
                    run_id=version.run_id, artifact_path=path, dst_path=folder
                )
                found.append((Path(local).read_bytes(), caption))
            except (MlflowException, OSError):
                continue
    return tuple(found)


def _lineage_picture(client: MlflowClient, version: Version) -> bytes:
    known = inventory.read(mlflow.get_tracking_uri()).versions
    chain = {v.number for v in lineage.chain(client, version)}
    shown = [v for v in known if v.name == names.GENERATORS and {v.number, v.parent} & chain]
    numbers = {v.number for v in shown}
    nodes = [
        Node(str(v.number), v.title[:40], ", ".join(f"@{a}" for a in v.aliases), v.number == version.number)
        for v in shown
    ]
    # Tags edited by hand may name a later version, and form a ring.
    edges = [Edge(str(v.parent), str(v.number)) for v in shown if v.parent in numbers and v.parent < v.number]
    return _png(lineage_tree(nodes, edges, title=f"Lineage of {version.uri}"))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150)
    return buffer.getvalue()


def _command(client: MlflowClient, version: Version) -> str:
    """The command that made the version's run, if its parameters are logged there; else the one that rebuilds it."""
    try:
        params = dict(client.get_run(version.run_id).data.params)
    except MlflowException:
        params = {}
    point = ENTRY_POINTS.get(version.stage)
    if point is None or not point.config.parameters().keys() <= params.keys():
        return f"sa-mlops reproduce {version.number}"
    definitions = point.config.parameters()
    options = [
        f"-P {shlex.quote(f'{k}={params[k]}')}"
        for k, p in definitions.items()
        if params[k] != p.spell(p.default)
    ]
    return " ".join(["mlflow run . -e", version.stage, *options])


def to_html(title: str, sections: Sequence[Section]) -> str:
    """One self-contained page: pictures inline, no script, no network."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>",
    ]
    for s in sections:
        parts.append(f"<h2>{html.escape(s.heading)}</h2>")
        words = (CODE.sub(r"<code>\1</code>", html.escape(plain(p))) for p in s.paragraphs)
        parts += [f"<p>{p}</p>" for p in words]
        if s.table:
            head, *body = s.table
            parts.append("<table><tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in head) + "</tr>")
            parts += ["<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in body]
            parts.append("</table>")
        for png, caption in s.figures:
            data = base64.b64encode(png).decode()
            alt = html.escape(caption)
            parts.append(
                f"<figure><img alt='{alt}' src='data:image/png;base64,{data}'><figcaption>{alt}</figcaption></figure>"
            )
        if s.command:
            parts.append(f"<pre>{html.escape(s.command)}</pre>")
    return "\n".join(parts) + "\n</html>\n"


def to_markdown(title: str, sections: Sequence[Section], *, pictures: bool = True) -> str:
    """The same as Markdown; pictures inline as data, or omitted."""
    parts = [f"# {_cell(title)}"]
    for s in sections:
        if s.figures and not pictures:
            continue
        parts.append(f"## {_cell(s.heading)}")
        parts += map(_prose, s.paragraphs)
        if s.table:
            head, *body = s.table
            lines = ["| " + " | ".join(map(_cell, head)) + " |", "|" + "---|" * len(head)]
            parts.append("\n".join(lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in body]))
        for png, caption in s.figures:
            parts.append(f"![{_cell(caption)}](data:image/png;base64,{base64.b64encode(png).decode()})")
        if s.command:
            parts.append(f"```\n{plain(' '.join(s.command.split())).replace('```', '')}\n```")
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|")


def _prose(text: str) -> str:
    """Text on one line in which tags of versions make no HTML, link or picture. Code in backquotes stays code."""
    return plain(" ".join(text.split())).replace("<", "&lt;").replace("[", "\\[").replace("!\\[", "\\!\\[")
