// The page itself: its theme, and one tooltip for all that has something to say.
"use strict";

(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  dark.addEventListener("change", show);
  show();

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);

  // Text only, never markup: names and values can come out of a model.
  const fill = (fields) => {
    const list = document.createElement("dl");
    for (const [name, value] of fields) {
      const term = document.createElement("dt");
      const words = document.createElement("dd");
      term.textContent = name;
      words.textContent = value;
      list.append(term, words);
    }
    tip.replaceChildren(list);
  };

  const place = (box) => {
    const width = tip.offsetWidth;
    const height = tip.offsetHeight;
    const left = Math.min(Math.max(box.left + box.width / 2 - width / 2, 6),
      root.clientWidth - width - 6);
    const above = box.top - height - 10;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(above > 4 ? above : box.bottom + 10) + window.scrollY}px`;
  };

  window.sublaxTip = {
    show(fields, box) {
      const said = fields.filter(([, value]) => value !== "" && value != null);
      if (!said.length) return this.hide();
      fill(said);
      tip.hidden = false;
      place(box);
    },
    hide() {
      tip.hidden = true;
    },
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") window.sublaxTip.hide();
  });

  // Tokens with their ratios: by pointer, and by arrow keys once one of a row has the focus.
  const told = (token) => [["token", token.textContent], ["log-likelihood ratio", token.dataset.tip]];
  const showToken = (event) => {
    const token = event.target.closest?.("[data-tip]");
    if (token) window.sublaxTip.show(told(token), token.getBoundingClientRect());
  };
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, showToken);
  for (const name of ["pointerout", "focusout"]) {
    document.addEventListener(name, (event) => {
      if (event.target.closest?.("[data-tip]")) window.sublaxTip.hide();
    });
  }
  for (const row of document.querySelectorAll(".tokens")) {
    const tokens = [...row.querySelectorAll("[data-tip]")];
    tokens.forEach((token, index) => {
      token.tabIndex = index ? -1 : 0;
    });
    row.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = step && tokens[tokens.indexOf(document.activeElement) + step];
      if (!next) return;
      event.preventDefault();
      document.activeElement.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }
})();
