// Tells jupyterlab-myst, as it renders a cell of a chapter, what the chapter's labels stand for: see book/lab.py.
(() => {
  const known = __KNOWN__;
  const slugs = new Set(Object.keys(known.titles).map((name) => name.split("/").pop()));
  const ids = (table) => Object.fromEntries(Object.entries(table).map(([label, value]) => [label.toLowerCase(), value]));
  const [numbers, homes] = [ids(known.numbers), ids(known.homes)];
  const macro = new RegExp(`([_^]?)\\\\(${Object.keys(known.macros).join("|")})(?![A-Za-z])`, "g");
  const text = (value) => ({ type: "text", value });
  const link = (url, value) => ({ type: "link", url, children: [text(value)] });
  const become = (node, other) => {
    for (const key of Object.keys(node)) if (key !== "position") delete node[key];
    Object.assign(node, other);
  };

  // {chapter}`14 15`, a role of ours
  const chapters = (role) => {
    const wanted = role.value.split(/\s+/);
    const parts = wanted.map((number) => {
      const [title, page] = known.chapters[number] ?? [number, null];
      const shown = wanted.length > 1 ? number : page ? title : `${title} (to come)`;
      return page ? link(`/${page}.ipynb`, shown) : text(shown);
    });
    return parts.flatMap((part, i) => (i ? [text(" · "), part] : [part]));
  };

  const treat = {
    cite: (node) => {
      const work = known.works[node.label];
      if (work) become(node, { type: "abbreviation", title: work.title, children: [text(work.text)] });
    },
    crossReference: (node, own) => {
      const id = node.identifier;
      if (!own.has(id) && numbers[id])
        become(node, link(`/chapters/${homes[id]}.ipynb`, id.startsWith("eq-") ? `(${numbers[id]})` : numbers[id]));
    },
    link: (node) => {
      const name = node.url.replace(/^\//, "");
      if (slugs.has(name)) node.url = `/chapters/${name}.ipynb`;
      else if (known.titles[name]) node.url = `/${name}.md`;
      if (!node.children?.length && known.titles[name]) node.children = [text(known.titles[name])];
    },
    math: (node) => {
      node.value = spelt(node.value);
      node.enumerated = node.identifier in numbers;
    },
    inlineMath: (node) => (node.value = spelt(node.value)),
    mystRole: (node) => {
      if (node.name === "chapter" && node.value) become(node, { type: "span", children: chapters(node) });
    },
  };
  const spelt = (maths) =>
    maths.replace(macro, (_, script, name) => (script ? `${script}{${known.macros[name]}}` : known.macros[name]));

  const walk = (node, own) => {
    if (numbers[node.identifier] && node.type !== "crossReference") node.enumerator = numbers[node.identifier];
    treat[node.type]?.(node, own);
    node.children?.forEach((child) => walk(child, own));
  };

  // The cells of jupyterlab-myst share a prototype, which can be had only from one of them.
  const teach = (panel) => {
    const cells = () => panel.content.widgets.filter((cell) => cell.updateFragmentMDAST);
    const first = cells()[0];
    if (!first) return;
    const prototype = Object.getPrototypeOf(first);
    if (prototype.knowsLabels) return;
    prototype.knowsLabels = true;
    const parse = prototype.updateFragmentMDAST;
    prototype.updateFragmentMDAST = async function () {
      await parse.call(this);
      const path = this.parent?.parent?.context?.path ?? "";
      const slug = path.split("/").pop().replace(/\.ipynb$/, "");
      const own = new Set(Object.keys(homes).filter((id) => homes[id] === slug));
      walk(this._fragmentMDAST, own);
    };
    Promise.all(cells().map((cell) => cell.updateFragmentMDAST())).then(() => first.render());
  };

  const extension = (notebook) => ({
    id: "__NAME__:plugin",
    autoStart: true,
    requires: [notebook.INotebookTracker],
    activate: (app, tracker) => {
      tracker.widgetAdded.connect((_, panel) => panel.context.ready.then(() => teach(panel)));
    },
  });

  let shared;
  const module = async () => {
    const versions = Object.values(shared["@jupyterlab/notebook"]);
    const notebook = (await versions[0].get())();
    return () => ({ default: extension(notebook) });
  };
  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB["__NAME__"] = { init: (scope) => void (shared = scope), get: module };
})();
