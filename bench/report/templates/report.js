"use strict";
/* The page works without this; it adds sorting, filtering, the dark switch and the gallery. */
(() => {
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  /* Light and dark. */
  const root = document.documentElement;
  const button = find("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const recall = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* private */ } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  if (["light", "dark"].includes(recall())) root.dataset.theme = recall();
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    name();
  });
  system.addEventListener("change", name);
  name();

  /* Tables: sort by a column, show rows with some words. */
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    const number = Number(text.replaceAll(",", "").replace("\u2212", "-"));
    return text === "\u2013" ? null : text !== "" && !Number.isNaN(number) ? number : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  const sorted = (rows, column, falling) => {
    const known = rows.filter((row) => valueOf(row, column) !== null);
    const order = (x, y) => compare(valueOf(x, column), valueOf(y, column)) * (falling ? -1 : 1);
    return [...known.sort(order), ...rows.filter((row) => valueOf(row, column) === null)];
  };
  for (const table of all("table[data-sortable]")) {
    const bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);
    const rows = bodies.flatMap(([, own]) => own).filter((row) => !row.classList.contains("group"));
    const heads = [...table.tHead.rows[0].cells];
    const restore = () => bodies.forEach(([body, own]) => { body.append(...own); body.hidden = false; });
    const sort = (head, column) => {
      const first = head.dataset.better === "high" ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const before = head.getAttribute("aria-sort");
      const after = before === null ? first : before === first ? second : null;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      restore();
      if (after === null) return;
      head.setAttribute("aria-sort", after);
      bodies[0][0].append(...sorted(rows, column, after === "descending"));
      all("tr.group", table).forEach((row) => row.remove());
      bodies.slice(1).forEach(([body]) => { body.hidden = true; });
    };
    heads.forEach((head, column) => {
      const wrapped = make("button", { type: "button", className: "sort" }, ...head.childNodes);
      wrapped.addEventListener("click", () => sort(head, column));
      head.append(wrapped);
    });
  }
  const holds = (text, words) => words.every((word) => text.includes(word));
  const wordsOf = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const input of all("input[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    const count = find(`[data-count="${input.dataset.filter}"]`);
    input.closest(".tools").hidden = false;
    input.addEventListener("input", () => {
      const words = wordsOf(input);
      const rows = all("tbody tr:not(.group)", table);
      rows.forEach((row) => { row.hidden = !holds(row.textContent.toLowerCase(), words); });
      const left = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? `${left} of ${rows.length}` : "";
      for (const row of all("tr.group", table)) {
        row.hidden = ![...row.parentNode.rows].some((r) => r !== row && !r.hidden);
      }
    });
  }

  /* Print: everything that is folded is opened, but not the long tables. */
  addEventListener("beforeprint", () => {
    for (const details of all("details")) {
      if (!details.open && all("tr, li", details).length < 60) {
        details.open = true;
        addEventListener("afterprint", () => { details.open = false; }, { once: true });
      }
    }
  });

  /* The gallery. */
  const source = find("#gallery-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const { contestants, metrics, prompts, pictures } = data;
  const place = new Map(prompts.map(([index], at) => [index, at]));
  const random = new Map(data.random.map((index, rank) => [index, rank]));
  const [pickA, pickB, pickOrder, pickMetric, pickWords] =
    ["#pick-a", "#pick-b", "#pick-order", "#pick-metric", "#pick-words"].map((id) => find(id));
  const PAGE = 8;
  let listed = [];
  let current = 0;
  let shown = PAGE;

  const uri = (index, who) => {
    const picture = pictures[index]?.[who];
    return picture ? `data:image/webp;base64,${picture}` : null;
  };
  const file = (index, who) => {
    for (const [folder, suffix, digits, ranges] of contestants[who].files) {
      if (ranges.some(([first, last]) => first <= index && index <= last)) {
        return `${folder}/${String(index).padStart(digits, "0")}${suffix}`;
      }
    }
    return null;
  };
  const score = (metric, who, at) => data.scores[metric.key][who][at];
  const words = (value, metric) =>
    value === null || value === undefined ? "\u2013"
      : value.toFixed(metric.places).replace("-", "\u2212");
  const chosen = () => [Number(pickA.value), Number(pickB.value)];
  const metric = () => metrics[Number(pickMetric.value)];

  const gain = (at, a, b, by) => {
    const [x, y] = [score(by, a, at), score(by, b, at)];
    return x === null || y === null ? null : by.higher ? x - y : y - x;
  };
  const apart = (at, a, b) => {
    let total = null;
    for (const by of metrics) {
      const found = gain(at, a, b, by);
      if (found !== null) total = (total ?? 0) + Math.abs(found) / by.spread;
    }
    return total;
  };
  const rank = (at) => {
    const [a, b] = chosen();
    switch (pickOrder.value) {
      case "gains": return gain(at, a, b, metric());
      case "losses": { const g = gain(at, a, b, metric()); return g === null ? null : -g; }
      case "different": return apart(at, a, b);
      case "random": return random.has(prompts[at][0]) ? -random.get(prompts[at][0]) : null;
      default: return -prompts[at][0];
    }
  };
  const list = () => {
    const wanted = wordsOf(pickWords);
    const usual = pickOrder.value === "random" && wanted.length;
    const found = [];
    prompts.forEach(([index, text], at) => {
      const value = usual ? (random.has(index) ? 1 : 0) : rank(at);
      if (value !== null && holds(`${index} ${text.toLowerCase()}`, wanted)) found.push([value, at]);
    });
    found.sort((x, y) => y[0] - x[0] || x[1] - y[1]);
    listed = found.map(([, at]) => at);
  };

  /* A name that may break after a hyphen or an underscore. */
  const breakable = (title) => title.split(/(?<=[-_.])/).flatMap((part) => [part, make("wbr")]);
  const tile = (at, who) => {
    const [index, text] = prompts[at];
    const [picture, original] = [uri(index, who), file(index, who)];
    const view = picture
      ? make("img", { src: picture, alt: `${contestants[who].name}: ${text}` })
      : make("span", { className: "blank", textContent: original ? "open file" : "not kept" });
    const link = original
      ? make("a", { href: original, target: "_blank", rel: "noopener" }, view) : view;
    if (original && !picture) link.setAttribute("aria-label", `open ${contestants[who].name}: ${text}`);
    const under = make("figcaption", {}, make("span", { className: "name" }, ...breakable(contestants[who].name)));
    if (chosen().includes(who)) under.firstChild.classList.add("chosen");
    if (metrics.length && score(metric(), who, at) !== null) {
      under.append(make("span", { className: "score",
        textContent: `${metric().title} ${words(score(metric(), who, at), metric())}` }));
    }
    return make("figure", {}, link, under);
  };
  const visible = () => all("#pick-shown input").map((box, who) => (box.checked ? who : -1)).filter((w) => w >= 0);
  const row = (at, position) => {
    const [index, text] = prompts[at];
    const compareButton = make("button", { type: "button", textContent: "Compare" });
    compareButton.setAttribute("aria-label", `Compare A and B on prompt ${index}`);
    compareButton.addEventListener("click", () => {
      current = position;
      view();
      find(".viewer").scrollIntoView({ block: "center" });
      find("#cut").focus({ preventScroll: true });
    });
    const caption = make("p", { className: "caption" },
      make("span", {}, make("span", { className: "ordinal", textContent: index }), text), compareButton);
    return make("li", {}, caption, make("div", { className: "tiles" }, ...visible().map((who) => tile(at, who))));
  };

  const view = () => {
    const [a, b] = chosen();
    const at = listed[current];
    const none = find("#stage-none");
    find("#previous").disabled = current <= 0;
    find("#next").disabled = current >= listed.length - 1;
    const [index, text] = at === undefined ? [null, "No prompt matches."] : prompts[at];
    find("#viewer-prompt").replaceChildren(
      ...(index === null ? [] : [make("span", { className: "ordinal", textContent: index })]), text);
    const [first, second] = index === null ? [null, null] : [uri(index, a), uri(index, b)];
    for (const [id, picture, who] of [["#over", first, a], ["#under", second, b]]) {
      const image = find(id);
      image.hidden = !picture;
      if (picture) image.src = picture; else image.removeAttribute("src");
      image.alt = picture ? `${contestants[who].name}: ${text}` : "";
    }
    none.hidden = Boolean(first && second);
    none.replaceChildren();
    if (!none.hidden && index !== null) {
      none.append(make("span", { textContent: "Not both inside this page." }));
      for (const who of [a, b]) {
        const path = file(index, who);
        none.append(path
          ? make("a", { href: path, target: "_blank", rel: "noopener", textContent: `open ${contestants[who].name}` })
          : make("span", { textContent: `${contestants[who].name}: not kept` }));
      }
    }
    find("#cut").disabled = !none.hidden;
    find("#name-a").textContent = `A ${contestants[a].name}`;
    find("#name-b").textContent = `B ${contestants[b].name}`;
    const body = find("#viewer-scores tbody");
    body.replaceChildren(...(index === null ? [] : metrics.map((by) => {
      const [x, y] = [score(by, a, at), score(by, b, at)];
      const delta = x === null || y === null ? null : x - y;
      return make("tr", {}, make("th", { scope: "row", textContent: `${by.title} ${by.higher ? "\u2191" : "\u2193"}` }),
        ...[x, y, delta].map((value) => make("td", { textContent: words(value, by) })));
    })));
    find("#viewer-scores").hidden = metrics.length === 0;
  };
  /* Tiles in rows of nearly the same length, so that no picture is left alone under the others. */
  const columns = (count, most) => {
    for (let rows = Math.ceil(count / most); rows < count; rows += 1) {
      const across = Math.ceil(count / rows);
      if (rows === 1 || count - (rows - 1) * across > 1) return across;
    }
    return Math.min(count, most);
  };
  const arrange = () => {
    const [list, tiles] = [find("#gallery-rows"), find("#gallery-rows .tiles")];
    if (!tiles) return;
    const [least, gap] = ["--least", "--gap"].map((name) => parseFloat(getComputedStyle(tiles).getPropertyValue(name)));
    const most = Math.max(1, Math.floor((list.clientWidth + gap) / (least + gap)));
    list.style.setProperty("--columns", columns(visible().length, most));
  };
  const draw = () => {
    find("#gallery-rows").replaceChildren(...listed.slice(0, shown).map(row));
    find("#more").hidden = listed.length <= shown;
    const inside = listed.filter((at) => pictures[prompts[at][0]]).length;
    let text = `${listed.length.toLocaleString("en")} of ${data.all.toLocaleString("en")} prompts in this order, `
      + `${inside.toLocaleString("en")} of them with thumbnails in this page`;
    if (prompts.length < data.all) text += `; the words of ${prompts.length.toLocaleString("en")} are inside`;
    find("#gallery-count").textContent = `${text}.`;
    arrange();
  };
  const update = () => {
    current = 0;
    shown = PAGE;
    pickMetric.closest("label").hidden = !metrics.length;
    list();
    view();
    draw();
  };

  contestants.forEach(({ name: title }, who) => {
    for (const pick of [pickA, pickB]) pick.append(make("option", { value: who, textContent: title }));
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", draw);
    find("#pick-shown").append(make("label", {}, box, title));
  });
  metrics.forEach(({ title }, number) => pickMetric.append(make("option", { value: number, textContent: title })));
  const known = data.pair.map((title) => contestants.findIndex((c) => c.name === title));
  pickA.value = known[0] >= 0 ? known[0] : 0;
  pickB.value = known[1] >= 0 ? known[1] : Math.min(1, contestants.length - 1);
  pickMetric.value = data.headline;
  if (!metrics.length) {
    for (const option of all("option", pickOrder)) option.disabled = !["random", "number"].includes(option.value);
  }
  [pickA, pickB, pickOrder, pickMetric].forEach((pick) => pick.addEventListener("change", update));
  pickWords.addEventListener("input", update);
  find("#previous").addEventListener("click", () => { current -= 1; view(); });
  find("#next").addEventListener("click", () => { current += 1; view(); });
  find("#more").addEventListener("click", () => { shown += PAGE; draw(); });
  const cut = () => {
    const value = find("#cut").value;
    find("#stage").style.setProperty("--cut", `${value}%`);
    find("#cut").setAttribute("aria-valuetext", `${value} % ${contestants[chosen()[0]].name}`);
  };
  find("#cut").addEventListener("input", cut);
  find("#gallery").hidden = false;
  new ResizeObserver(arrange).observe(find("#gallery-rows"));
  update();
  cut();
})();
