
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  for (const id of ["theme", "tools", "keys", "find"]) by(id).hidden = false;

  // Dark or light: what the system prefers, until somebody chooses.
  by("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // The drawing: the part [from, from + 1 / zoom] of the whole is shown.
  const figure = by("lanes");
  const svg = figure.querySelector("svg");
  const width = svg.viewBox.baseVal.width;
  const left = Number(svg.dataset.left) + Number(svg.dataset.margin);
  const room = width - left - Number(svg.dataset.margin);
  const placed = [...svg.querySelectorAll("[data-x]")].map((element) => ({
    element,
    part: (Number(element.dataset.x) - left) / room,
    apart: Number(element.dataset.apart || 0),
    kind: element.classList.contains("stage") ? "stage" : "time",
  }));
  placed.sort((one, other) => one.part - other.part);
  let zoom = 1;
  let from = 0;

  const draw = () => {
    zoom = Math.min(Math.max(zoom, 1), 400);
    from = Math.min(Math.max(from, 0), 1 - 1 / zoom);
    const last = { stage: -Infinity, time: -Infinity };
    for (const { element, part, apart, kind } of placed) {
      const x = left + (part - from) * zoom * room;
      const away = x < left - 8 || x > width;
      element.classList.toggle("away", away);
      if (away) continue;
      element.setAttribute("transform", `translate(${x} 0)`);
      if (!apart) continue;
      const near = x - last[kind] < apart;
      element.classList.toggle("near", near);
      if (!near) last[kind] = x;
    }
    svg.dataset.zoom = String(zoom);
  };
  const zoomBy = (factor, around = 0.5) => {
    const fixed = from + around / zoom;
    zoom = Math.min(Math.max(zoom * factor, 1), 400);
    from = fixed - around / zoom;
    draw();
  };
  const moveBy = (part) => {
    from += part / zoom;
    draw();
  };
  const all = () => {
    zoom = 1;
    from = 0;
    draw();
  };
  const partAt = (clientX) => {
    const box = svg.getBoundingClientRect();
    const x = ((clientX - box.left) / box.width) * width;
    return Math.min(Math.max((x - left) / room, 0), 1);
  };

  by("in").addEventListener("click", () => zoomBy(2));
  by("out").addEventListener("click", () => zoomBy(0.5));
  by("all").addEventListener("click", all);
  svg.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoomBy(Math.exp(-event.deltaY / 400), partAt(event.clientX));
    },
    { passive: false },
  );
  figure.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const act = {
      "+": () => zoomBy(2),
      "=": () => zoomBy(2),
      "-": () => zoomBy(0.5),
      0: all,
      ArrowLeft: () => moveBy(-0.2),
      ArrowRight: () => moveBy(0.2),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // Dragging moves; a press that stays in place is a click on a dot.
  let drag = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { x: event.clientX, from, moved: false };
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const by = event.clientX - drag.x;
    if (Math.abs(by) < 4 && !drag.moved) return;
    drag.moved = true;
    from = drag.from - ((by / svg.getBoundingClientRect().width) * width) / room / zoom;
    draw();
  });
  addEventListener("pointerup", () => {
    if (drag && drag.moved) {
      addEventListener("click", (event) => event.preventDefault(), { capture: true, once: true });
      setTimeout(() => (drag = null), 0);
    } else {
      drag = null;
    }
  });
  svg.addEventListener("dragstart", (event) => event.preventDefault());

  // The raw event of the dot that is pointed at or focused.
  const raw = by("raw");
  const show = (event) => {
    const dot = event.target.closest && event.target.closest(".dot");
    if (!dot) return;
    const row = by("e" + dot.dataset.n);
    raw.textContent = row.querySelector("pre").textContent;
    raw.hidden = false;
    for (const other of document.querySelectorAll(".at-hand")) other.classList.remove("at-hand");
    row.classList.add("at-hand");
  };
  svg.addEventListener("pointerover", show);
  svg.addEventListener("focusin", show);

  // A number that was followed opens its event.
  const open = () => {
    const row = /^#e\d+$/.test(location.hash) && by(location.hash.slice(1));
    if (!row) return;
    row.hidden = false;
    row.querySelector("details").open = true;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", open);
  open();

  // Rows that match a word; what happened before the submission only on request.
  const rows = [...document.querySelectorAll(".events tbody tr")];
  const earlier = rows.filter((row) => row.classList.contains("before"));
  const filter = by("filter");
  const button = by("before");
  let showsEarlier = rows.length - earlier.length < 5;
  const sift = () => {
    const word = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const matches = word ? row.textContent.toLowerCase().includes(word) : true;
      const folded = !word && !showsEarlier && row.classList.contains("before");
      row.hidden = (!matches || folded) && !row.matches(":target");
      if (!row.hidden) shown += 1;
    }
    by("count").textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
    button.hidden = earlier.length === 0;
    button.textContent = `${showsEarlier ? "Hide" : "Show"} ${earlier.length} before the submission`;
  };
  filter.addEventListener("input", sift);
  button.addEventListener("click", () => {
    showsEarlier = !showsEarlier;
    sift();
  });
  sift();

  // Commands to paste.
  if (navigator.clipboard) {
    for (const command of document.querySelectorAll(".command")) {
      const copy = document.createElement("button");
      const text = command.textContent;
      copy.type = "button";
      copy.textContent = "Copy";
      copy.addEventListener("click", () =>
        navigator.clipboard.writeText(text).then(() => (copy.textContent = "Copied")),
      );
      command.append(copy);
    }
  }

  // On paper nothing can be unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")].filter(
      (details) => !details.closest(".events"),
    );
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });
  draw();
})();
