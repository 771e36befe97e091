// Draws the page's charts, and lets the keyboard go where the pointer can.
"use strict";

(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const MARKS = ".role-mark > [aria-label]";

  // Only what Vega hands over as an object of texts is shown.
  const fieldsOf = (value) =>
    value && typeof value === "object" ? Object.entries(value).map(([k, v]) => [k, String(v)]) : [];

  const onPointer = (handler, event, item, value) => {
    const node = event.target;
    if (value == null || value === "" || !node.getBoundingClientRect) return window.sublaxTip.hide();
    window.sublaxTip.show(fieldsOf(value), node.getBoundingClientRect());
  };

  const center = (node) => {
    const box = node.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };

  // The nearest mark in an arrow's direction; what lies aside counts double.
  const neighbour = (marks, from, key) => {
    const [x, y] = center(from);
    const along = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key];
    let best = null;
    let least = Infinity;
    for (const mark of marks) {
      const [u, v] = center(mark);
      const ahead = (u - x) * along[0] + (v - y) * along[1];
      const aside = Math.abs((u - x) * along[1]) + Math.abs((v - y) * along[0]);
      if (mark !== from && ahead > 1 && ahead + 2 * aside < least) {
        best = mark;
        least = ahead + 2 * aside;
      }
    }
    return best;
  };

  const reachable = (place) => {
    const marks = [...place.querySelectorAll(MARKS)];
    if (!marks.some((mark) => mark.getAttribute("tabindex") === "0")) {
      marks.forEach((mark, index) => mark.setAttribute("tabindex", index ? "-1" : "0"));
    }
    return marks;
  };

  const listen = (place) => {
    place.addEventListener("focusin", (event) => {
      const item = event.target.__data__;
      if (item) window.sublaxTip.show(fieldsOf(item.tooltip), event.target.getBoundingClientRect());
    });
    place.addEventListener("focusout", () => window.sublaxTip.hide());
    place.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow") || !event.target.matches(MARKS)) return;
      const next = neighbour(reachable(place), event.target, event.key);
      event.preventDefault();
      if (!next) return;
      event.target.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  };

  const draw = async (place) => {
    const options = { actions: false, renderer: "svg", ast: true, tooltip: onPointer };
    const { view } = await window.vegaEmbed(place, specs[place.dataset.chart], options);
    const refresh = () => view.runAfter(() => reachable(place));
    view.addSignalListener("width", refresh);
    reachable(place);
    listen(place);
  };

  const places = [...document.querySelectorAll("[data-chart]")];
  Promise.all(places.map(draw)).then(() => {
    document.documentElement.dataset.charts = "drawn";
  });
})();
