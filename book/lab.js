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
      const [cited, title] = known.works[node.label] ?? [];
      if (cited) become(node, { type: "abbreviation", title, children: [text(cited)] });
    },
    crossReference: (node, slug) => {
      const id = node.identifier;
      if (numbers[id] && homes[id] !== slug)
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
    html: (node) => {
      if (/^\s*<!--[^]*-->\s*$/.test(node.value)) become(node, { type: "comment", value: "" });
    },
    inlineMath: (node) => (node.value = spelt(node.value)),
    mystRole: (node) => {
      if (node.name === "chapter" && node.value) become(node, { type: "span", children: chapters(node) });
    },
  };
  const spelt = (maths) =>
    maths.replace(macro, (_, script, name) => (script ? `${script}{${known.macros[name]}}` : known.macros[name]));

  const walk = (node, slug) => {
    if (numbers[node.identifier] && node.type !== "crossReference") node.enumerator = numbers[node.identifier];
    treat[node.type]?.(node, slug);
    node.children?.forEach((child) => walk(child, slug));
  };

  const taught = new Set();
  const teach = (cell) => {
    const prototype = Object.getPrototypeOf(cell);
    if (taught.has(prototype) || !prototype.updateFragmentMDAST) return;
    taught.add(prototype);
    const parse = prototype.updateFragmentMDAST;
    prototype.updateFragmentMDAST = async function () {
      await parse.call(this);
      const slug = this.parent.parent.context.path.split("/").pop().replace(/\.ipynb$/, "");
      walk(this._fragmentMDAST, slug);
    };
  };

  // The class of jupyterlab-myst's cells can be had only from one of them, so the first is taken as it is made.
  const extension = (notebook) => ({
    id: "__NAME__:plugin",
    autoStart: true,
    requires: [notebook.NotebookPanel.IContentFactory],
    activate: (app, factory) => {
      const create = factory.createMarkdownCell;
      factory.createMarkdownCell = function (options) {
        const cell = create.call(this, options);
        teach(cell);
        return cell;
      };
    },
  });

  let shared;
  const module = async () => {
    const versions = Object.values(shared["@jupyterlab/notebook"]);
    const notebook = (await versions[0].get())();
    return () => ({ __esModule: true, default: extension(notebook) });
  };
  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB["__NAME__"] = { init: (scope) => void (shared = scope), get: module };
})();
