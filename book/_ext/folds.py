"""What a page keeps folded: proofs, solutions, plumbing, code of figures; each under a line that says what it is.

Plain `<details>`: they work by mouse, by key and for screen readers, and open without script when a link leads inside.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


class Fold(nodes.Element):
    """A closed `<details>`: `kind` is its class, `summary` the words that stay in sight."""


def open_fold(translator, node: Fold) -> None:
    translator.body.append(f'<details class="fold {node["kind"]}"><summary>{node["summary"]}</summary>\n')


def close_fold(translator, node: Fold) -> None:
    translator.body.append("</details>\n")


def pass_by(translator, node: Fold) -> None:
    """Paper and plain text have no folds."""


def fold_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Fold the cells whose tags ask for it; a figure's code goes below the figure."""
    if not app.env.docname.startswith("chapters/"):
        return
    notebook = app.env.course.chapters[app.env.docname.split("/")[1].split("_")[0]].cells
    for cell in [node for node in doctree.findall(nodes.container) if "cell_index" in node and node.children]:
        source = notebook[cell["cell_index"]]
        tags = set(source["metadata"].get("tags", []))
        if kind := next((kind for kind in ("proof", "solution", "hide-cell") if kind in tags), None):
            cell.attributes.pop("hide_mode", None)  # else the notebook's own parser folds it once more
            # What leads to the cell leads inside, which opens the fold.
            body = nodes.container("", *cell.children, classes=["fold-body"], ids=cell["ids"])
            cell["ids"] = []
            cell.children = []
            cell += Fold("", body, kind=kind, summary=_summary(kind, cell["cell_index"], notebook))
            if kind == "proof":
                slug = app.env.docname.split("/")[1]
                _stand_in_for_the_link(cell, {f"check-{slug}-{i.removeprefix('check-')}".lower() for i in body["ids"]})
        elif "hide-input" in tags and cell[0].get("nb_element") == "cell_code_source":
            cell.attributes.pop("hide_mode", None)
            code = cell.children.pop(0)
            cell += Fold("", code, kind="shown-by", summary=f"code of this {_shown(source['outputs'])}")


def _summary(kind: str, number: int, notebook: list[dict]) -> str:
    if kind == "proof":
        return proof_summary(notebook[number]["outputs"])
    if kind == "solution":
        return "Solution, as code"
    before = [cell for cell in notebook[:number] if cell["cell_type"] == "code"]
    if before and "starter" in before[-1]["metadata"].get("tags", []):
        return "What judges your answer, as code"
    return "Imports and settings" if not before else "Code that the next cells use"


def proof_summary(outputs: list[dict]) -> str:
    """ "✓ checked 3 ways, rejects 2 known mistakes", counted from what the cell's checks left.

    >>> made = {"check": "eq-kl", "rejects": ["E0-40", "kl-mean"]}
    >>> proof_summary([{"metadata": {"dgmlib": made}}, {"metadata": {"dgmlib": {"check": "eq-kl", "rejects": []}}}])
    '✓ checked 2 ways, rejects 2 known mistakes'
    """
    ways, rejected = 0, set()
    for output in outputs:
        found = output.get("metadata", {}).get("dgmlib", {})
        ways += "check" in found
        rejected.update(found.get("rejects", []))
    if not ways:
        return "The check, as code"
    said = "✓ checked" + (f" {ways} ways" if ways > 1 else "")
    return said + (f", rejects {len(rejected)} known mistake{'s' * (len(rejected) > 1)}" if rejected else "")


def _shown(outputs: list[dict]) -> str:
    pages = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    if "data-answer" in pages:
        return "question"
    if "data-explore" in pages or any("image/png" in output.get("data", {}) for output in outputs):
        return "figure"
    return "output"


def _stand_in_for_the_link(cell: nodes.container, links: set[str]) -> None:
    """Directly under its equation a proof needs no "checked" link: its own line is that link, beside the others."""
    place = cell.parent.index(cell)
    before = cell.parent[place - 1] if place else None
    if before is None or "equation-links" not in before.get("classes", []):
        return
    for link in list(before.findall(addnodes.pending_xref)):
        if link["reftarget"] in links:
            at = before.index(link)
            del before[max(0, at - 1) : at + 1]  # with the dot that parts it from the link before
    foot = nodes.container(classes=["equation-foot"])
    cell.parent[place - 1 : place + 1] = [foot]
    foot.extend([before, cell] if before.children else [cell])


def setup_folds(app: Sphinx) -> None:
    app.add_node(Fold, html=(open_fold, close_fold), latex=(pass_by, pass_by), text=(pass_by, pass_by))
    app.connect("doctree-read", fold_cells, priority=600)  # after the chapter has its links and anchors
