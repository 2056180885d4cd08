// What the pages do beyond being read. Without script everything is still there: folds open by hand, equations scroll.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // A link, a search result or an address that leads inside a fold opens it, and all folds around it.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const folds = target.matches("details") ? [target] : [];
    for (let at = target.parentElement; at; at = at.parentElement) if (at.matches("details")) folds.push(at);
    if (!folds.length) return;
    folds.forEach((fold) => (fold.open = true));
    (folds[0].offsetHeight > innerHeight ? target : folds[0]).scrollIntoView(); // a long fold's head is far from it
    folds[0].querySelector("summary").focus({ preventScroll: true });
  };

  // What is wider than its column says so at the edge where more of it is, and scrolls by keys.
  const WIDE = "div.math > mjx-container, .highlight > pre, .pst-scrollable-table-container, .wide-figure";
  const mark = (box) => {
    const left = box.scrollLeft > 2;
    const right = box.scrollLeft + box.clientWidth < box.scrollWidth - 2;
    if (left || right) {
      box.dataset.more = left && right ? "both" : left ? "left" : "right";
      box.tabIndex = 0;
    } else {
      delete box.dataset.more;
    }
  };
  const watchWide = () => {
    const seen = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));
    for (const box of all(WIDE)) {
      box.addEventListener("scroll", () => mark(box), { passive: true });
      seen.observe(box); // also when a fold that holds it opens
    }
  };

  // On a phone the rows of an index become cards: each cell then says which column it is of.
  const nameCells = () => {
    for (const table of all(".bd-article table")) {
      const names = all("thead th", table).map((cell) => cell.textContent.trim());
      if (names.length < 3) continue;
      table.classList.add("cards");
      for (const row of all("tbody tr", table)) {
        [...row.children].forEach((cell, i) => {
          cell.dataset.column = names[i] ?? "";
          cell.classList.toggle("none", cell.textContent.trim() === "–");
        });
      }
    }
  };

  // A figure of several panels: on a phone it scrolls rather than shrinks.
  const findWideFigures = () => {
    for (const image of all(".cell_output img")) {
      if (image.naturalWidth < 640 || image.naturalWidth < 1.8 * image.naturalHeight) continue;
      if (image.closest("[data-explore]")) continue;
      image.parentElement.classList.add("wide-figure");
    }
  };

  // On paper: asides open, hints and solutions at the end of the page.
  const HIDDEN_THERE = ".proof, .hide-cell, .shown-by, [data-predict] *";
  let undo = [];
  const toPaper = () => {
    if (undo.length) return;
    const folds = all(`.bd-article details:not(${HIDDEN_THERE}):not([open])`);
    folds.forEach((fold) => (fold.open = true));
    undo.push(() => folds.forEach((fold) => (fold.open = false)));
    const answers = all(".bd-article :is(details.sd-dropdown, .cell.tag_solution, .admonition.solution)").filter(
      (node) => !node.matches("details") || /^(Hint|Solution)/.test(node.querySelector("summary").textContent.trim()),
    );
    if (!answers.length) return;
    const end = document.createElement("section");
    end.className = "print-answers";
    end.innerHTML = "<h2>Hints and solutions</h2>";
    const exercises = all(".bd-article .exercise");
    let current;
    for (const node of answers) {
      const of = exercises.filter((one) => one.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING).at(-1);
      if (of && of !== current && !node.matches(".admonition.solution")) {
        end.append(Object.assign(document.createElement("h3"), { textContent: title(of) }));
      }
      current = of;
      const place = document.createComment("");
      node.replaceWith(place);
      end.append(node);
      undo.push(() => place.replaceWith(node));
    }
    document.querySelector(".bd-article").append(end);
    undo.push(() => end.remove());
  };
  const title = (exercise) => exercise.querySelector(".admonition-title").textContent.replace(/#\s*$/, "").trim();
  const fromPaper = () => undo.splice(0).forEach((step) => step());

  // The theme's own toggles in the contents have no name.
  const nameToggles = () => {
    for (const toggle of all("nav .has-children > details > summary:not([aria-label])")) {
      const link = toggle.closest(".has-children").querySelector(":scope > a");
      toggle.setAttribute("aria-label", `Pages below ${link?.textContent.trim()}`);
    }
  };

  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (link && link.hash && link.hash === location.hash) setTimeout(reveal); // no hashchange, then
  });
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", fromPaper);
  const begin = () => {
    nameCells();
    nameToggles();
    findWideFigures();
    reveal();
    // Formulas have their width once they are set.
    (window.MathJax?.startup?.promise ?? Promise.resolve()).then(watchWide);
  };
  if (document.readyState === "complete") begin();
  else addEventListener("load", begin);
})();
